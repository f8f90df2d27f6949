// One function for every call to the API. A refusal becomes a Problem whose sentence can be shown as it is.

export class Problem extends Error {
	constructor(
		/** The HTTP status; 0 when the server was not reached. */
		readonly status: number,
		/** A stable word, or `unreachable`. */
		readonly code: string,
		/** What happened, as a sentence. */
		readonly detail: string,
		/** What to do about it. */
		readonly hint = ''
	) {
		super(detail);
	}

	/** Anything that was thrown, as a Problem. */
	static of(thrown: unknown): Problem {
		return thrown instanceof Problem ? thrown : new Problem(0, 'console_fault', String(thrown));
	}
}

let signedOut = () => {};

/** Sets what happens when the server says that nobody is signed in. */
export function onSignedOut(then: () => void) {
	signedOut = then;
}

async function problemOf(response: Response): Promise<Problem> {
	try {
		const body = await response.json();
		return new Problem(response.status, body.code ?? 'unknown', body.detail ?? body.title ?? response.statusText, body.hint ?? '');
	} catch {
		return new Problem(response.status, 'unknown', `${response.status} ${response.statusText}`);
	}
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** Calls `/api/v1/<path>`. Throws a Problem. `quiet` leaves a 401 to the caller. */
export async function call<T = void>(method: Method, path: string, body?: unknown, quiet = false): Promise<T> {
	// Writes with a cookie need the header: a foreign page cannot set it.
	const headers: Record<string, string> = { Accept: 'application/json', 'X-Espush': '1' };
	if (body !== undefined) headers['Content-Type'] = 'application/json';
	let response: Response;
	try {
		response = await fetch(`/api/v1/${path}`, {
			method,
			headers,
			body: body === undefined ? undefined : JSON.stringify(body),
			credentials: 'same-origin',
			cache: 'no-store'
		});
	} catch {
		throw new Problem(0, 'unreachable', 'The server cannot be reached.');
	}
	if (!response.ok) {
		const problem = await problemOf(response);
		if (problem.status === 401 && !quiet) signedOut();
		throw problem;
	}
	if (response.status === 204 || response.headers.get('Content-Length') === '0') return undefined as T;
	return (await response.json()) as T;
}

/** A path with its parts made safe: `path`devices/${id}``. */
export function path(parts: TemplateStringsArray, ...values: (string | number)[]): string {
	return parts.reduce((all, part, i) => all + encodeURIComponent(String(values[i - 1])) + part);
}

/** A query string of what is set. */
export function query(values: Record<string, string | number | boolean | undefined | null>): string {
	const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== '');
	return set.length ? '?' + new URLSearchParams(set.map(([key, value]) => [key, String(value)])) : '';
}
