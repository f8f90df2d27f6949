// What is written down about a device (`meta`), as lines that people edit: `room = B 12`. A number, `true` and `false`
// are what they are; a text that would be read as one of them stands in quotes, as JSON has them.
import type { Value } from '$lib/api/types';

/** One value as it is read back by `read`. */
export function plain(value: Value): string {
	return typeof value === 'string' && (value === '' || meant(value) !== value) ? JSON.stringify(value) : String(value);
}

function meant(text: string): Value {
	try {
		const value: unknown = JSON.parse(text);
		if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string') return value;
	} catch {
		// No JSON: the text itself.
	}
	return text.trim();
}

/** All of it, a line each. */
export function write(meta: Record<string, Value>): string {
	return Object.entries(meta)
		.map(([name, value]) => `${name} = ${plain(value)}`)
		.join('\n');
}

/** What lines say; `null` with the first line that says nothing. */
export function read(lines: string): { meta: Record<string, Value>; wrong: string | null } {
	const meta: Record<string, Value> = {};
	for (const line of lines.split('\n')) {
		if (!line.trim()) continue;
		const at = line.indexOf('=');
		const [name, value] = [line.slice(0, Math.max(at, 0)).trim(), line.slice(at + 1).trim()];
		if (!name || !value) return { meta, wrong: line.trim() };
		meta[name] = meant(value);
	}
	return { meta, wrong: null };
}

/** What is to be sent so that `before` becomes `after`: what is gone is struck out. */
export function change(before: Record<string, Value>, after: Record<string, Value>): Record<string, Value | null> {
	const gone = Object.keys(before).filter((name) => !(name in after));
	const other = Object.entries(after).filter(([name, value]) => before[name] !== value);
	return Object.fromEntries([...gone.map((name) => [name, null] as const), ...other]);
}
