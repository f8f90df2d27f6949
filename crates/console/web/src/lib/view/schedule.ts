// A schedule as a form has it, from and to the JSON of the API. Pure. What the form cannot say (several device ids,
// bytes in base64, a priority) is kept as it was written.
import type { NewPush, Schedule, When } from '$lib/api/types';

export const KINDS = ['at', 'every', 'daily', 'weekly', 'cron'] as const;
export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export const AUDIENCES = ['device', 'tags', 'app', 'group', 'where', 'all', 'json'] as const;
export const FORMATS = ['text', 'hex', 'json', 'kept'] as const;
export const UNITS = { s: 1, min: 60, h: 3600, d: 86_400 } as const;

export interface Draft {
	name: string;
	kind: (typeof KINDS)[number];
	/** A moment as an input of the browser has it, in its own time zone. */
	at: string;
	count: number;
	unit: keyof typeof UNITS;
	time: string;
	days: string[];
	cron: string;
	zone: string;
	to: (typeof AUDIENCES)[number];
	/** Who is meant, as the kind of audience wants it. */
	whom: string;
	order: 'message' | 'ask' | 'command';
	verb: string;
	format: (typeof FORMATS)[number];
	payload: string;
	graceMinutes: number;
}

/** Which part of the form an error of the API is about. */
export type Part = 'name' | 'when' | 'whom' | 'payload' | 'verb' | 'grace';

const PARTS: Record<string, Part> = {
	bad_name: 'name',
	bad_when: 'when',
	bad_audience: 'whom',
	audience_too_long: 'whom',
	bad_where: 'whom',
	no_such_app: 'whom',
	no_such_group: 'whom',
	groups_too_much: 'whom',
	where_too_heavy: 'whom',
	payload_ambiguous: 'payload',
	payload_missing: 'payload',
	payload_too_large: 'payload',
	bad_command: 'verb',
	bad_grace: 'grace'
};

/** Where an error is shown; above the form when that is not known. */
export function partOf(code: string, detail = ''): Part | null {
	if (code === 'bad_field' && /^(push: )?(hex|base64|json|text)\b/.test(detail)) return 'payload';
	if (code === 'bad_field' && /^when\b/.test(detail)) return 'when';
	return PARTS[code] ?? null;
}

const two = (number: number) => String(number).padStart(2, '0');

/** A moment as `datetime-local` wants it. */
export function local(at: Date): string {
	return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** A new one: tonight, by the zone of the browser. */
export function fresh(zone: string, now: Date): Draft {
	return {
		name: '',
		kind: 'daily',
		at: local(new Date(now.getTime() + 3_600_000)),
		count: 10,
		unit: 'min',
		time: '22:00',
		days: ['mon'],
		cron: '*/5 9-17 * * mon-fri',
		zone,
		to: 'device',
		whom: '',
		order: 'message',
		verb: 'reboot',
		format: 'text',
		payload: '',
		graceMinutes: 60
	};
}

/** One that there is. */
export function draft(schedule: Schedule, zone: string, now: Date): Draft {
	const { when, push } = schedule;
	const made = { ...fresh(when.time_zone ?? ('every_s' in when || 'at' in when ? zone : 'UTC'), now), name: schedule.name };
	made.graceMinutes = Math.round(schedule.grace_s / 60);
	if (when.at !== undefined) Object.assign(made, { kind: 'at', at: local(new Date(when.at)) });
	else if (when.every_s !== undefined) {
		const unit = (['d', 'h', 'min', 's'] as const).find((unit) => when.every_s! % UNITS[unit] === 0) ?? 's';
		Object.assign(made, { kind: 'every', unit, count: when.every_s / UNITS[unit] });
	} else if (when.daily !== undefined) Object.assign(made, { kind: 'daily', time: when.daily });
	else if (when.weekly !== undefined) Object.assign(made, { kind: 'weekly', time: when.weekly.time, days: when.weekly.days.map((day) => day.toLowerCase()) });
	else Object.assign(made, { kind: 'cron', cron: when.cron ?? '' });
	Object.assign(made, audienceOf(push.audience));
	if (push.command !== undefined) Object.assign(made, { order: 'command', verb: push.command });
	else if (push.ask) made.order = 'ask';
	if (push.text !== undefined) Object.assign(made, { format: 'text', payload: push.text });
	else if (push.hex !== undefined) Object.assign(made, { format: 'hex', payload: push.hex });
	else if (push.json !== undefined) Object.assign(made, { format: 'json', payload: JSON.stringify(push.json) });
	else if (push.base64 !== undefined) made.format = 'kept';
	return made;
}

function audienceOf(audience: unknown): Pick<Draft, 'to' | 'whom'> {
	if (audience === 'all') return { to: 'all', whom: '' };
	const [said, ...more] = Object.entries((audience ?? {}) as Record<string, unknown>);
	if (said && !more.length) {
		const [word, value] = said;
		if ((word === 'device' || word === 'group' || word === 'where') && typeof value === 'string') return { to: word, whom: value };
		if (word === 'app') return { to: 'app', whom: String(value) };
		const all = (value as { all?: unknown } | undefined)?.all;
		const plain = word === 'tags' && Object.keys(value as object).length === 1 && Array.isArray(all) && !all.some((tag) => /[,，]/.test(tag));
		if (plain) return { to: 'tags', whom: (all as string[]).join(', ') };
	}
	return { to: 'json', whom: JSON.stringify(audience) };
}

/** `when` as the API wants it. */
export function whenOf(draft: Draft): When {
	const zone = draft.zone ? { time_zone: draft.zone } : {};
	switch (draft.kind) {
		case 'at':
			return { at: draft.at ? new Date(draft.at).toISOString() : '' };
		case 'every':
			return { every_s: Math.round(draft.count * UNITS[draft.unit]) };
		case 'daily':
			return { daily: draft.time, ...zone };
		case 'weekly':
			return { weekly: { days: DAYS.filter((day) => draft.days.includes(day)), time: draft.time }, ...zone };
		case 'cron':
			return { cron: draft.cron.trim(), ...zone };
	}
}

/** JSON that somebody wrote is none. */
export class BadJson extends Error {
	constructor(readonly part: Part) {
		super('not JSON');
	}
}

function json(text: string, part: Part): unknown {
	try {
		return JSON.parse(text);
	} catch {
		throw new BadJson(part);
	}
}

/** `push` as the API wants it; what the form does not show is taken from `before`. */
export function pushOf(draft: Draft, before?: NewPush): NewPush {
	const { audience: _, text, hex, json: value, base64, ask, command, ...rest } = before ?? { audience: null };
	void [text, hex, value, ask, command];
	const whom = draft.whom.trim();
	const audience = {
		device: () => ({ device: whom }),
		tags: () => ({ tags: { all: whom.split(/[,，]/).map((tag) => tag.trim()).filter(Boolean) } }),
		app: () => ({ app: Number(whom) }),
		group: () => ({ group: whom }),
		where: () => ({ where: whom }),
		all: () => 'all',
		json: () => json(whom, 'whom')
	}[draft.to]();
	const push: NewPush = { ...rest, audience };
	if (draft.order === 'ask') push.ask = true;
	if (draft.order === 'command') push.command = draft.verb.trim();
	if (draft.format === 'kept') push.base64 = base64;
	// A command may stand alone; a text is otherwise sent as it is, an empty one too.
	else if (draft.order === 'command' && draft.payload === '') return push;
	else if (draft.format === 'text') push.text = draft.payload;
	else if (draft.format === 'hex') push.hex = draft.payload.replace(/\s+/g, '');
	else push.json = json(draft.payload, 'payload');
	return push;
}
