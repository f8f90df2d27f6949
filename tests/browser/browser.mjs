// Chromium as the suite needs it: quiet on the network, and a page that reports what a person would not see.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const DESK = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

export function launch() {
	return chromium.launch({
		executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
		args: [
			'--no-sandbox',
			'--disable-gpu',
			'--disable-quic',
			'--no-first-run',
			'--disable-background-networking',
			'--disable-component-update',
			'--disable-sync'
		]
	});
}

/** A page in a context of its own. `faults` gathers script errors, policy violations and requests to other hosts. */
export async function open(browser, url, options = {}) {
	const context = await browser.newContext({ baseURL: url, viewport: DESK, locale: 'en-US', colorScheme: 'light', ...options });
	const page = await context.newPage();
	const faults = [];
	page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
	page.on('console', (message) => {
		// A refused call is no fault of the page: what it then says is what the tests look at.
		if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) faults.push(`console: ${message.text()}`);
	});
	page.on('request', (request) => {
		const { origin, protocol } = new URL(request.url());
		if (protocol !== 'data:' && origin !== (options.baseURL ?? url)) faults.push(`foreign request: ${request.url()}`);
	});
	return { page, faults, close: () => context.close() };
}

/** Saves what is on screen to the directory of ESPUSH_SHOTS, if there is one. */
export async function shot(page, name) {
	const directory = process.env.ESPUSH_SHOTS;
	if (!directory) return;
	await mkdir(directory, { recursive: true });
	await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
}

/** How many pixels the page is wider than the screen. */
export function overflow(page) {
	return page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
}

/** The API with the rights of the page's session. */
export async function api(page, method, path, data) {
	const response = await page.request.fetch(`/api/v1/${path}`, { method, data, headers: { 'X-Espush': '1' } });
	assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${await response.text()}`);
	return response.status() === 204 ? undefined : response.json();
}

/** A button by the whole of its name. */
export const button = (page, name) => page.getByRole('button', { name, exact: true });
