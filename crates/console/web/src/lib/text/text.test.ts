import { describe, expect, it } from 'vitest';
import { en } from './en';
import { choose, phrase, sentence, setLanguage } from './index.svelte';
import { zh } from './zh';

/** Every leaf as `path`; the two open dictionaries of the server's words are for translations only. */
function leaves(value: object, at = ''): string[] {
	return Object.entries(value).flatMap(([key, leaf]) => {
		const path = `${at}${key}`;
		if (path === 'problems' || path === 'phrases') return [];
		return typeof leaf === 'object' ? leaves(leaf, `${path}.`) : [path];
	});
}

describe('the two languages', () => {
	it('say the same things', () => {
		expect(leaves(zh).sort()).toEqual(leaves(en).sort());
	});
	it('translate what the server says where they know it', () => {
		setLanguage('zh');
		expect(phrase('connected by mqtt')).toBe('通过 mqtt 连接');
		expect(sentence('a limit was reached')).toBe('达到了上限。');
		expect(sentence('something new')).toBe('Something new.');
		setLanguage('en');
		expect(phrase('connected by mqtt')).toBe('connected by mqtt');
		expect(sentence('a limit was reached')).toBe('A limit was reached.');
	});
	it('are chosen as the browser asks', () => {
		expect(choose(['zh-CN', 'en'])).toBe('zh');
		expect(choose(['de-DE', 'zh-TW', 'en'])).toBe('zh');
		expect(choose(['en-GB', 'zh'])).toBe('en');
		expect(choose(['fr'])).toBe('en');
	});
});
