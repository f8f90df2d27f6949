import { describe, expect, it } from 'vitest';
import { en } from '$lib/text/en';
import { zh } from '$lib/text/zh';
import { hexFault, hexPairs, shown, size, utf8Length } from './bytes';
import { follow, isBad, isFinal } from './delivery';
import { moments } from './moments';
import { change, read, write } from './notes';
import { BadJson, draft, fresh, partOf, pushOf, whenOf } from './schedule';
import { ago, lasting } from './time';
import { curlOf, isEmpty, objectOf } from './twin';
import { isOn, sparkline, thin, valueText } from './values';

describe('times', () => {
	it('are told by their largest unit, in both languages', () => {
		expect(ago(500, 'en', 'just now')).toBe('just now');
		expect(ago(59_000, 'en', '')).toBe('59 sec. ago');
		expect(ago(3 * 60_000, 'zh', '')).toBe('3分钟前');
		expect(ago(2 * 86_400_000, 'en', '')).toBe('2 days ago');
		expect(lasting(7_200_000, 'en')).toBe('2 hr');
		expect(lasting(3 * 86_400_000, 'zh')).toBe('3天');
		expect(lasting(-5, 'en')).toBe('0 sec');
	});
});

describe('bytes', () => {
	it('hex is checked and shown as on the wire', () => {
		expect(hexFault('0c 01')).toBeNull();
		expect(hexFault('0c 0')).toBe('odd');
		expect(hexFault('0x0c')).toBe('digit');
		expect(hexPairs('0c01ff')).toBe('0c 01 ff');
		expect(shown({ text: '' })).toBe('');
		expect(shown({ hex: '00ff' })).toBe('00 ff');
		expect(size(1536)).toBe('1.5 KiB');
		expect(utf8Length('灯')).toBe(3);
	});
});

describe('schedules', () => {
	const now = new Date('2026-11-20T10:00:00Z');
	const base = { id: 1, name: 'night', grace_s: 3600, paused: false, next: null, runs: [] };
	it('come out of the form as they went in', () => {
		const whens = [
			{ every_s: 7200 },
			{ every_s: 90 },
			{ daily: '22:00', time_zone: 'Asia/Shanghai' },
			{ weekly: { days: ['mon', 'fri'], time: '07:30' }, time_zone: 'UTC' },
			{ cron: '*/5 * * * *', time_zone: 'Europe/Berlin' },
			{ at: '2026-12-24T17:00:00.000Z' }
		];
		for (const when of whens) expect(whenOf(draft({ ...base, when, push: { audience: 'all', text: 'x' } }, 'UTC', now))).toEqual(when);
		const pushes = [
			{ audience: 'all', text: 'off' },
			{ audience: { device: 'lamp' }, text: '', ask: true },
			{ audience: { tags: { all: ['a', 'b c'] } }, hex: '0c01', priority: 'high', ttl_s: 60 },
			{ audience: { tags: { any: ['a'] } }, json: { on: true } },
			{ audience: { devices: ['a', 'b'] }, json: null },
			{ audience: { app: 7 }, command: 'reboot' },
			{ audience: { group: 'kitchen' }, command: 'lua', text: 'print(1)' },
			{ audience: { where: 'online and app = 7' }, base64: 'AAE=' },
			{ audience: { tags: { all: ['a,b'] } }, text: 'x', collapse: 'k' }
		];
		for (const push of pushes) expect(pushOf(draft({ ...base, when: { every_s: 60 }, push }, 'UTC', now), push)).toEqual(push);
	});
	it('tell where something is wrong', () => {
		expect(partOf('bad_where')).toBe('whom');
		expect(partOf('bad_field', 'push: hex: not an even number of hex digits')).toBe('payload');
		expect(partOf('store_failed')).toBeNull();
		const form = { ...fresh('UTC', now), to: 'json' as const, whom: '{' };
		expect(() => pushOf(form)).toThrow(BadJson);
		expect(whenOf({ ...form, kind: 'weekly', days: [] })).toEqual({ weekly: { days: [], time: '22:00' }, time_zone: 'UTC' });
	});
});

describe('notes', () => {
	it('are read as they were written', () => {
		const meta = { room: 'B 12', floor: 3, lent: true, serial: '0012', code: '12', word: 'true', empty: '', formula: 'a = b' };
		expect(read(write(meta))).toEqual({ meta, wrong: null });
		expect(write({ room: 'B 12', code: '12' })).toBe('room = B 12\ncode = "12"');
		expect(read(' room=  B 12 \n\n楼= 东').meta).toEqual({ room: 'B 12', 楼: '东' });
		expect(read('room = 1\nnothing').wrong).toBe('nothing');
		expect(read('= 1').wrong).toBe('= 1');
	});
	it('are changed where they differ', () => {
		expect(change({ room: 'A', floor: 3, lent: true }, { room: 'B', lent: true, new: 1 })).toEqual({ floor: null, room: 'B', new: 1 });
		expect(change({ room: 'A' }, { room: 'A' })).toEqual({});
	});
});

describe('values', () => {
	it('are readable', () => {
		expect(valueText(21.456789123, 'en')).toBe('21.4568');
		expect(valueText(1234567, 'en')).toBe('1,234,567');
		expect(valueText(1024, 'en')).toBe('1024');
		expect(valueText('watering', 'en')).toBe('watering');
		expect([true, 1, 'on'].every(isOn)).toBe(true);
		expect([false, 0, 'off', undefined].some(isOn)).toBe(false);
	});
	it('a line needs two numbers; a flat one lies in the middle', () => {
		const at = (s: number) => `2026-01-01T00:00:0${s}.000Z`;
		const row = (s: number, value: number | boolean) => ({ stream: 'x', at: at(s), value });
		expect(sparkline([row(0, 1)], 10, 10)).toBe('');
		expect(sparkline([row(0, 1), row(1, true)], 10, 10)).toBe('');
		expect(sparkline([row(0, 1), row(1, 3), row(2, 2)], 10, 10)).toBe('M0.0 10.0L5.0 0.0L10.0 5.0');
		expect(sparkline([row(0, 1), row(2, 1)], 10, 10)).toBe('M0.0 5.0L10.0 5.0');
		expect(thin([1, 2, 3, 4, 5], 2)).toEqual([2, 5]);
	});
});

describe('a delivery', () => {
	const news = (state: 'queued' | 'sent' | 'delivered' | 'applied', s: number) => ({ push: 1, device: 'lamp', state, at: `2026-01-01T00:00:0${s}.000Z` });
	it('never goes back when news arrive out of order', () => {
		let known = follow(undefined, news('sent', 2));
		known = follow(known, news('queued', 1));
		expect(known.state).toBe('sent');
		expect(known.times.queued).toBeDefined();
		known = follow(known, news('applied', 3));
		known = follow(known, news('delivered', 3));
		expect(known.state).toBe('applied');
		expect(Object.keys(known.times)).toHaveLength(4);
	});
	it('goes back to queued when its line broke', () => {
		const known = follow(follow(undefined, news('sent', 2)), news('queued', 3));
		expect(known.state).toBe('queued');
	});
	it('knows its ends', () => {
		expect(isFinal('applied') && !isBad('applied') && isBad('expired') && !isFinal('delivered')).toBe(true);
	});
});

describe('the moments of a schedule', () => {
	const both = (when: Parameters<typeof moments>[0]) => [en, zh].map((t) => moments(when, t.schedules, (at) => at));
	it('are told in words', () => {
		expect(both({ at: '2026' })).toEqual(['once, 2026', '一次，2026']);
		expect(both({ every_s: 7200 })).toEqual(['every 2 h', '每 2 小时']);
		expect(both({ every_s: 90 })).toEqual(['every 90 s', '每 90 秒']);
		expect(both({ daily: '07:30' })).toEqual(['every day at 07:30 (UTC)', '每天 07:30 (UTC)']);
		const weekly = { days: ['mon', 'SUN'], time: '07:30' };
		expect(both({ weekly, time_zone: 'Asia/Shanghai' })).toEqual(['mon, SUN at 07:30 (Asia/Shanghai)', '每周一、日 07:30 (Asia/Shanghai)']);
		expect(both({ cron: '*/5 * * * *' })[0]).toBe('*/5 * * * * (UTC)');
	});
});

describe('patches of a twin', () => {
	it('are JSON objects and nothing else', () => {
		expect(objectOf(' {"led": "on", "old": null} ')).toEqual({ led: 'on', old: null });
		for (const bad of ['', 'on', '[1]', 'null', '"x"', '{led: 1}', '{"a": 1} x']) expect(objectOf(bad), bad).toBeNull();
		expect([isEmpty({}), isEmpty({ a: null })]).toEqual([true, false]);
	});
	it('are the same from a shell, with the version that was seen', () => {
		expect(curlOf('lamp', 3, { led: "it's" }, 'http://pi:8080')).toBe(
			`curl -X PATCH -H 'Authorization: Bearer TOKEN' -H 'Content-Type: application/json' -d '{"led":"it'\\''s"}' ` +
				`'http://pi:8080/api/v1/devices/lamp/twin/desired?version=3'`
		);
	});
});
