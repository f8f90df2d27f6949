import { describe, expect, it } from 'vitest';
import { addressOf, atAddress, isLoopback, portOf } from './address';
import { curl } from './curl';
import { literal, shell } from './quote';
import { KINDS, snippet, type Words } from './snippets';

describe('quoting', () => {
	it('leaves plain words and quotes the rest', () => {
		expect(shell('lamp-1.kitchen')).toBe('lamp-1.kitchen');
		expect(shell('on fire')).toBe("'on fire'");
		expect(shell("it's $HOME")).toBe(`'it'\\''s $HOME'`);
		expect(shell('')).toBe("''");
		expect(shell('?')).toBe("'?'");
		expect(literal('a"b\\c')).toBe('"a\\"b\\\\c"');
	});
});

describe('where the server is', () => {
	it('reads ports of both address families', () => {
		expect(portOf('0.0.0.0:1883')).toBe(1883);
		expect(portOf('[::]:10081')).toBe(10081);
		expect(portOf('off')).toBeUndefined();
		const at = addressOf({ hostname: 'pi', origin: 'http://pi:8080' }, undefined);
		expect(at).toEqual({ host: 'pi', origin: 'http://pi:8080', ports: {} });
	});
	it('writes the address as the AT firmware wants it', () => {
		expect(atAddress('192.168.1.10')).toBe(167880896);
		expect(atAddress('espush.example')).toBeNull();
		expect(atAddress('1.2.3.400')).toBeNull();
	});
	it('knows names that a board cannot use', () => {
		expect(['localhost', '127.0.0.1', '[::1]'].every(isLoopback)).toBe(true);
		expect(isLoopback('192.168.1.10')).toBe(false);
	});
});

describe('copy as curl', () => {
	const base = { device: 'lamp', open: true, order: 'message', hex: false, payload: 'on' };
	it('is short where it can be', () => {
		expect(curl(base, 'http://pi:8080')).toBe('curl -d on http://pi:8080/d/lamp');
		expect(curl({ ...base, order: 'ask' }, 'http://pi:8080')).toBe("curl -d on 'http://pi:8080/d/lamp?ask=1'");
		expect(curl({ ...base, open: false }, 'http://pi:8080')).toBe("curl -H 'Authorization: Bearer TOKEN' -d on http://pi:8080/d/lamp");
		expect(curl({ ...base, payload: '@home' }, 'http://pi:8080')).toContain('--data-raw @home');
	});
	it('uses the whole API for hex and commands', () => {
		const line = curl({ ...base, order: 'reboot', payload: '' }, 'http://pi:8080');
		expect(line).toContain(`'{"audience":{"device":"lamp"},"text":"","command":"reboot","wait_ms":5000}'`);
		expect(curl({ ...base, hex: true, payload: '0c01' }, 'http://pi:8080')).toContain('"hex":"0c01"');
	});
});

describe('code for a new device', () => {
	const words: Words = { wifi: 'WIFI', password: 'PASS', led: '', answer: '', alive: '', listen: '', send: '', type: '', address: '', save: '' };
	const board = { id: 'kitchen', secret: 's3cret', app: 7, key: 'k'.repeat(32) };
	it('has the secret and the host filled in', () => {
		const at = addressOf({ hostname: '192.168.1.10', origin: 'http://192.168.1.10:8080' }, undefined);
		for (const kind of KINDS) {
			const text = snippet(kind, board, at, words);
			expect(text, kind).toContain(kind === 'at' ? `AT+PUSH_DEF=7,${board.key}` : 's3cret');
			expect(text, kind).toContain(kind === 'at' ? '167880896' : '192.168.1.10');
		}
	});
	it('follows the ports of the listeners', () => {
		const status = { version: '', started: '', devices: 0, online: 0, apps: 0, listeners: [{ name: 'mqtt', addr: '0.0.0.0:21883' }] };
		const at = addressOf({ hostname: 'pi', origin: 'http://pi' }, status);
		expect(snippet('micropython', board, at, words)).toContain('port=21883');
		expect(snippet('mosquitto', board, at, words)).toContain('-p 21883');
	});
});
