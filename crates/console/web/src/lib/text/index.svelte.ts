// The language of the console: the reader's choice, else the browser's. English and Chinese.
import type { Problem } from '$lib/api/http';
import { en, type Text } from './en';
import { zh } from './zh';

export type Language = 'en' | 'zh';

const KEY = 'espush.language';
const DICTIONARIES: Record<Language, Text> = { en, zh };

/** The language for a list of preferences, most wanted first. */
export function choose(preferences: readonly string[]): Language {
	for (const tag of preferences) {
		if (/^zh\b/i.test(tag)) return 'zh';
		if (/^en\b/i.test(tag)) return 'en';
	}
	return 'en';
}

function initial(): Language {
	if (typeof window === 'undefined') return 'en';
	try {
		const kept = localStorage.getItem(KEY);
		if (kept === 'en' || kept === 'zh') return kept;
	} catch {
		// Storage may be forbidden; the browser's language it is.
	}
	return choose(navigator.languages);
}

let current = $state<Language>(initial());

/** The dictionary in use. Reactive: read it inside `$derived` or a template. */
export function words(): Text {
	return DICTIONARIES[current];
}

/** The language in use, as a BCP 47 tag. */
export function language(): Language {
	return current;
}

export function setLanguage(to: Language) {
	current = to;
	try {
		localStorage.setItem(KEY, to);
	} catch {
		// Then it holds for this page only.
	}
}

/** A refusal's sentence in the reader's language, where we know it; else as the server said it. */
export function explain(problem: Problem): string {
	return words().problems[problem.code] ?? whole(problem.detail);
}

/** What the server said (why a device is online, say), translated where we know it. */
export function phrase(text: string): string {
	for (const [said, translated] of words().phrases) {
		if (typeof said === 'string' ? said === text : said.test(text)) return text.replace(said, translated);
	}
	return text;
}

/** The same where it stands by itself, as a sentence. */
export function sentence(text: string): string {
	return whole(phrase(text));
}

// The server's texts may stand inside a line of a log, so they begin small and end without a stop.
function whole(text: string): string {
	const begun = text.charAt(0).toUpperCase() + text.slice(1);
	if (/[.!?。！？…]$/.test(begun)) return begun;
	return begun + (/[\u3000-\u9fff\uff00-\uffef]$/.test(begun) ? '。' : '.');
}
