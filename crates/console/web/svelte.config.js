// The console is a set of static files: the program embeds them and answers unknown page addresses with index.html.
import adapter from '@sveltejs/adapter-static';
import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8'));

/** @type {import('@sveltejs/kit').Config} */
export default {
	compilerOptions: { runes: true },
	kit: {
		adapter: adapter({ fallback: 'index.html', precompress: true }),
		// One script and one style sheet: the whole console is smaller than most pictures, and a
		// browser that is open across an upgrade never asks for a chunk that is gone.
		output: { bundleStrategy: 'single' },
		// The same sources give the same files.
		version: { name: version },
		csp: {
			mode: 'hash',
			directives: {
				'default-src': ['none'],
				'script-src': ['self'],
				'style-src': ['self'],
				// Style attributes only: SvelteKit's announcer and the chart widths use them.
				'style-src-attr': ['unsafe-inline'],
				'img-src': ['self', 'data:'],
				'connect-src': ['self'],
				'manifest-src': ['self'],
				'base-uri': ['self'],
				'form-action': ['self']
			}
		}
	}
};
