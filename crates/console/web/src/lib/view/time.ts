// Times for people. Pure: the clock and the language come in as arguments.

const UNITS: [Intl.NumberFormatOptions['unit'] & string, number][] = [
	['day', 86_400],
	['hour', 3_600],
	['minute', 60],
	['second', 1]
];

function largest(ms: number): [string, number] {
	const seconds = Math.max(0, Math.round(ms / 1000));
	for (const [unit, size] of UNITS) if (seconds >= size) return [unit, Math.floor(seconds / size)];
	return ['second', seconds];
}

/** `3 min`, `2 days`: a length of time by its largest unit. */
export function lasting(ms: number, language: string): string {
	const [unit, count] = largest(ms);
	const unitDisplay = unit === 'day' ? 'long' : 'short';
	return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay }).format(count);
}

/** `3 min. ago`; below two seconds the given word for "now". */
export function ago(ms: number, language: string, now: string): string {
	if (ms < 2_000) return now;
	const [unit, count] = largest(ms);
	const format = new Intl.RelativeTimeFormat(language, { style: unit === 'day' ? 'long' : 'short', numeric: 'always' });
	return format.format(-count, unit as Intl.RelativeTimeFormatUnit);
}

/** `14:03:07.250`, local. */
export function clock(at: string): string {
	const date = new Date(at);
	const two = (n: number) => String(n).padStart(2, '0');
	const ms = String(date.getMilliseconds()).padStart(3, '0');
	return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

/** Date and time in full, local. */
export function full(at: string, language: string): string {
	return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(at));
}

/** The date alone, local. */
export function date(at: string, language: string): string {
	return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(new Date(at));
}
