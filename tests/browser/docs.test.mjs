// The page about the API in a real browser: every call of openapi.json is on it, with its fields and errors; a
// call can be tried with the browser's session; it fits a phone and speaks both languages.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { DESK, launch, open, overflow, PHONE, shot } from './browser.mjs';
import { house } from './house.mjs';

let server;
let browser;
const faults = [];

before(async () => {
	server = await house();
	browser = await launch();
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

/** Runs `act` with the page, when its calls are there. */
async function visit(options, act, address = '/docs') {
	const visitor = await open(browser, server.url, options);
	try {
		await visitor.page.goto(address);
		await visitor.page.locator('details').first().waitFor();
		return await act(visitor.page);
	} finally {
		faults.push(...visitor.faults);
		await visitor.close();
	}
}

test('every call is on the page, with its errors', async () => {
	await visit({}, async (page) => {
		const description = await (await page.request.get('/api/v1/openapi.json')).json();
		const names = Object.values(description.paths).flatMap((methods) => Object.values(methods).map((call) => call.operationId));
		assert.ok(names.length > 30);
		for (const name of names) assert.equal(await page.locator(`#${name}`).count(), 1, name);
		for (const code of description.components.schemas.Problem.properties.code.enum) {
			assert.equal(await page.locator('#codes + .table code', { hasText: new RegExp(`^${code}$`) }).count(), 1, code);
		}
		const box = page.locator('#push');
		await box.locator('summary').click();
		// What a call takes is drawn once its box is open.
		await box.locator('h3').first().waitFor();
		const text = await box.innerText();
		for (const word of ['audience', 'ttl_s', 'audience_empty', 'deliveries']) assert.ok(text.includes(word), word);
		await page.getByRole('searchbox').fill('secret');
		await page.locator('#push').waitFor({ state: 'hidden' });
		assert.ok(await page.locator('#newSecret').isVisible());
	});
});

test('a call is tried with the browser’s session, or with a token', async () => {
	await visit(
		{},
		async (page) => {
			const box = page.locator('#device');
			const send = () => box.getByRole('button', { name: 'Send' }).click();
			await box.getByLabel('id', { exact: true }).fill('lamp');
			await send();
			await box.getByText('401 Unauthorized').waitFor();
			await box.getByLabel('token').fill(server.token);
			await send();
			await box.getByText('200 OK').waitFor();
			assert.ok((await box.locator('pre').innerText()).includes('"id": "lamp"'));
			await page.request.post('/api/v1/session', { data: { token: server.token }, headers: { 'X-Espush': '1' } });
			await box.getByLabel('token').fill('');
			await box.getByLabel('id', { exact: true }).fill('nobody');
			await send();
			await box.getByText('404 Not Found').waitFor();
			assert.ok((await box.locator('pre').innerText()).includes('no_such_device'));
			// The body that stands there is one that the API takes.
			const push = page.locator('#push');
			await push.locator('summary').click();
			await push.getByRole('button', { name: 'Send' }).click();
			await push.getByText('200 OK').waitFor();
		},
		'/docs#device'
	);
});

test('it fits a phone and a desk, light and dark, in both languages', async () => {
	for (const [name, options] of Object.entries({
		desk: { viewport: DESK, colorScheme: 'light' },
		'desk-dark': { viewport: DESK, colorScheme: 'dark' },
		phone: { viewport: PHONE, colorScheme: 'light' },
		narrow: { viewport: { width: 320, height: 700 }, colorScheme: 'dark' }
	})) {
		await visit({ ...options, locale: name === 'phone' ? 'zh-CN' : 'en-US' }, async (page) => {
			for (const id of ['push', 'events', 'points']) await page.locator(`#${id} summary`).click();
			assert.equal(await overflow(page), 0, name);
			const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
			assert.equal(ground === 'rgb(18, 21, 28)', options.colorScheme === 'dark', `${name}: ${ground}`);
			const errors = name === 'phone' ? '错误' : 'Errors';
			assert.ok(await page.locator('#push h3', { hasText: errors }).isVisible());
			await page.evaluate(() => scrollTo(0, 0));
			await shot(page, `docs-${name}`);
		});
	}
});

test('no script failed, no policy was broken and nothing was asked of other hosts', () => {
	assert.deepEqual(faults, []);
});
