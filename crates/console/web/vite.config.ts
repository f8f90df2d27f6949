// The build of the console. `npm run dev` takes the API from a running `espush serve` (ESPUSH_SERVER).
import { sveltekit } from '@sveltejs/kit/vite';
import tailwindcss from '@tailwindcss/vite';
import { loadEnv } from 'vite';
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => {
	const server = loadEnv(mode, '.', 'ESPUSH_').ESPUSH_SERVER ?? 'http://127.0.0.1:8080';
	return {
		plugins: [tailwindcss(), sveltekit()],
		build: { rolldownOptions: { checks: { pluginTimings: false } } },
		server: { proxy: { '/api/': server, '/d/': server } },
		test: { include: ['src/**/*.test.ts'] }
	};
});
