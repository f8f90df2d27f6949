// Points as tiles and small charts. Pure.
import type { Point, Value } from '$lib/api/types';

/** A value as text: numbers without noise digits, booleans left to the caller. */
export function valueText(value: Value, language: string): string {
	if (typeof value !== 'number') return String(value);
	if (Number.isInteger(value) && Math.abs(value) < 1e15) return new Intl.NumberFormat(language, { useGrouping: Math.abs(value) >= 1e5 }).format(value);
	return new Intl.NumberFormat(language, { maximumSignificantDigits: 6, useGrouping: false }).format(value);
}

/** An SVG path over `width` × `height` for numeric points in order of time; empty for fewer than two. */
export function sparkline(points: Point[], width: number, height: number): string {
	const rows = points
		.filter((p): p is Point & { value: number } => typeof p.value === 'number')
		.map((p) => [Date.parse(p.at), p.value] as const);
	const first = rows[0];
	const last = rows.at(-1);
	if (!first || !last || rows.length < 2 || last[0] <= first[0]) return '';
	let low = Infinity;
	let high = -Infinity;
	for (const [, value] of rows) {
		low = Math.min(low, value);
		high = Math.max(high, value);
	}
	const flat = high === low;
	const x = (at: number) => ((at - first[0]) / (last[0] - first[0])) * width;
	const y = (value: number) => (flat ? height / 2 : height - ((value - low) / (high - low)) * height);
	return rows.map(([at, value], i) => `${i ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('');
}

/** Keeps every n-th row so that at most `most` remain, the last one always. */
export function thin<T>(rows: T[], most: number): T[] {
	const step = Math.ceil(rows.length / most);
	return step <= 1 ? rows : rows.filter((_, i) => (rows.length - 1 - i) % step === 0);
}

/** Whether a value switches a light on. */
export function isOn(value: Value | undefined): boolean {
	return value === true || value === 1 || value === 'on' || value === 'true' || value === '1';
}
