// What people write as a patch, read before it is sent. Pure.
import { shell } from '$lib/board/quote';

export type Json = Record<string, unknown>;

/** The object that a text says, or `null` if it says none. */
export function objectOf(text: string): Json | null {
	try {
		const value: unknown = JSON.parse(text);
		return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null;
	} catch {
		return null;
	}
}

/** Whether an object says nothing. */
export function isEmpty(value: Json): boolean {
	return Object.keys(value).length === 0;
}

/** The same change of what is wanted from a shell. */
export function curlOf(device: string, version: number, patch: Json, origin: string): string {
	const url = `${origin}/api/v1/devices/${encodeURIComponent(device)}/twin/desired?version=${version}`;
	const headers = ['Authorization: Bearer TOKEN', 'Content-Type: application/json'].flatMap((header) => ['-H', shell(header)]);
	return ['curl', '-X', 'PATCH', ...headers, '-d', shell(JSON.stringify(patch)), shell(url)].join(' ');
}
