// The console in a real browser against the real program: what a person does in the first minutes, in the
// order in which they do it. One program and one sign-in for all; every wait is for something on screen.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { board } from './board.mjs';
import { api, button, DESK, launch, open, overflow, PHONE, shot } from './browser.mjs';
import { house } from './house.mjs';
import { tap } from './tap.mjs';

/** Names of this run, for a program that has seen others. */
const run = Date.now().toString(36);
const kitchenId = `kitchen-${run}`;
const appName = `Greenhouse ${run}`;

let server;
let browser;
/** The browser's state once it is signed in. */
let signed;
/** Everything that a page did behind the reader's back. */
const faults = [];

before(async () => {
	server = await house();
	const page = await (await fetch(server.url)).text();
	assert.ok(page.includes('/_app/'), 'the program was built without the console: build crates/console/web first');
	browser = await launch();
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

/** Runs `act` with a page; signed in unless told otherwise. */
async function visit(options, act) {
	const visitor = await open(browser, server.url, { storageState: signed, ...options });
	try {
		return await act(visitor.page);
	} finally {
		faults.push(...visitor.faults);
		await visitor.close();
	}
}

const tile = (page, stream) => page.locator(`[data-stream="${stream}"] [data-value]`);

test('a sign-in code that is wrong gets a sentence and the way to a new link', async () => {
	await visit({}, async (page) => {
		await page.goto('/signin#this-is-no-code');
		const alert = page.getByRole('alert');
		await alert.waitFor();
		assert.match(await alert.innerText(), /code/i);
		await page.getByText('espush token signin', { exact: true }).waitFor();
		assert.equal(new URL(page.url()).hash, '', 'the code does not stay in the address');
		await shot(page, 'signin-refused');
	});
	await visit({ locale: 'zh-CN' }, async (page) => {
		await page.goto('/signin#this-is-no-code');
		await page.getByRole('alert').getByText('登录码').waitFor();
	});
});

test('without a sign-in every page leads to the sign-in page', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.waitForURL((url) => url.pathname === '/signin' && url.searchParams.get('next') === '/device/lamp');
		await page.getByRole('heading', { name: 'espush' }).waitFor();
	});
});

test('the sign-in link opens the console, once', async () => {
	await visit({}, async (page) => {
		await page.goto(server.signin);
		await page.getByRole('heading', { name: 'Devices' }).waitFor();
		assert.equal(new URL(page.url()).hash, '');
		signed = await page.context().storageState();
		const [cookie] = signed.cookies;
		assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict', 'scripts and foreign pages have no use of the cookie');
	});
	await visit({ storageState: undefined }, async (page) => {
		await page.goto(server.signin);
		await page.getByRole('alert').waitFor();
	});
});

test('the lamp is online in the list, and found by a word', async () => {
	await visit({}, async (page) => {
		await page.goto('/');
		await page.locator('[data-device="lamp"][data-online="true"]').waitFor();
		await page.getByTestId('live').waitFor();
		assert.match(await page.getByTestId('counts').innerText(), /\d+ online of \d+/);
		const search = page.getByRole('searchbox');
		await search.fill('no such device anywhere');
		await page.getByRole('heading', { name: 'Nothing matches' }).waitFor();
		await search.fill('LAM');
		await page.locator('[data-device="lamp"]').waitFor();
		await page.getByText('Offline', { exact: true }).click();
		await page.locator('[data-device="lamp"]').waitFor({ state: 'detached' });
		await page.getByText('Online', { exact: true }).click();
		await page.locator('[data-device="lamp"]').click();
		await page.waitForURL('**/device/lamp');
		await page.locator('[data-testid="presence"][data-online="true"]').waitFor();
	});
});

test('pressing On lights the lamp, and every part of the page tells of it', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.getByTestId('live').waitFor();
		// From a known state: off, by the device's own word.
		await button(page, 'Off').click();
		await page.locator('[data-testid="deliveries"] > [data-state="applied"]').first().waitFor();
		await page.locator('[data-testid="lamp"][data-on="false"]').waitFor();
		const earlier = await page.locator('[data-testid="deliveries"] > li').first().getAttribute('data-push');

		await button(page, 'On').click();
		await page.locator('[data-testid="lamp"][data-on="true"]').waitFor();
		await page.locator('[data-stream="led"] [data-value="true"]').waitFor();
		const delivery = page.locator('[data-testid="deliveries"] > [data-state="applied"]').first();
		await delivery.getByTestId('answer').waitFor();
		const id = await delivery.getAttribute('data-push');
		assert.notEqual(id, earlier);
		const log = page.getByTestId('log');
		await log.locator('[data-direction="down"]', { hasText: `me/ask/${id}` }).waitFor();
		await log.locator('[data-direction="up"]', { hasText: `me/answer/${id}` }).waitFor();
		await shot(page, 'device-desk');
	});
});

test('a push from the box shows each step and its answer; Enter sends', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.getByTestId('lamp').waitFor();
		await page.getByLabel('What to push').fill('toggle');
		const was = await page.getByTestId('lamp').getAttribute('data-on');
		await page.getByLabel('What to push').press('Enter');
		await page.locator(`[data-testid="lamp"][data-on="${was === 'false'}"]`).waitFor();
		const newest = page.locator('[data-testid="deliveries"] > li').first();
		await newest.getByText('toggle').waitFor();
		for (const step of ['queued', 'sent', 'delivered', 'applied']) await newest.getByText(step, { exact: true }).first().waitFor();
	});
});

test('hex that is none is not sent, and the page says why', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.getByText('Hex', { exact: true }).click();
		await page.getByLabel('What to push').fill('0c 0');
		await page.getByText('Half a byte is missing', { exact: false }).waitFor();
		assert.ok(await button(page, 'Send').isDisabled());
		await page.getByLabel('What to push').fill('6f 6e');
		await button(page, 'Send').click();
		await page.locator('[data-testid="lamp"][data-on="true"]').waitFor();
	});
});

test('what is wanted of a device is changed by a patch, and what others change is seen at once', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.getByTestId('live').waitFor();
		const box = page.getByLabel('Change what is wanted');
		await box.fill('{led: on}');
		await page.getByText('This is no JSON object.').waitFor();
		assert.ok(await button(page, 'Change').isDisabled());
		await box.fill('{"mode": "party", "every": 5}');
		await button(page, 'Change').click();
		await page.getByTestId('twin-delta').getByText('"mode": "party"').waitFor();
		assert.equal(await box.inputValue(), '');
		await api(page, 'PATCH', 'devices/lamp/twin/desired', { mode: null, every: 7 });
		await page.getByTestId('twin-desired').getByText('"every": 7').waitFor();
		assert.equal(await page.getByTestId('twin-desired').getByText('party').count(), 0);
		await api(page, 'PATCH', 'devices/lamp/twin/desired', { every: null });
		await page.getByText('as it is wanted', { exact: true }).waitFor();
	});
});

test('copy as curl gives the line that does the same', async () => {
	await visit({}, async (page) => {
		await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
		await page.goto('/device/lamp');
		await page.getByTestId('lamp').waitFor();
		await page.getByLabel('What to push').fill('it’s on');
		await button(page, 'Copy as curl').click();
		await button(page, 'Copied').waitFor();
		const line = await page.evaluate(() => navigator.clipboard.readText());
		assert.equal(line, `curl -d 'it’s on' '${server.url}/d/lamp?ask=1'`);
	});
});

test('a new device: its secret once, its knock, its first line, its values', async () => {
	await visit({}, async (page) => {
		await page.goto('/');
		await page.getByTestId('live').waitFor();
		const { listeners } = await api(page, 'GET', 'status');
		const host = new URL(server.url).hostname;
		const port = Number(listeners.find((listener) => listener.name === 'mqtt').addr.split(':').at(-1));

		await button(page, 'Add device').first().click();
		const dialog = page.getByRole('dialog');
		await dialog.getByLabel('Device id').fill(kitchenId);
		await dialog.getByLabel('Name').fill('Kitchen');
		await shot(page, 'add-device');
		await button(dialog, 'Create device').click();
		const secret = await dialog.getByTestId('secret').innerText();
		const code = dialog.locator('pre');
		assert.ok((await code.innerText()).includes(`password="${secret}"`), 'the secret stands in the code');
		assert.ok((await code.innerText()).includes(`port=${port}`), 'and the port that the server listens on');
		await button(dialog, 'mosquitto').click();
		assert.ok((await code.innerText()).includes(`-h ${host} -p ${port} -u ${kitchenId} -P ${secret}`));

		const first = dialog.getByTestId('first-line');
		await first.getByText('Waiting for its first line').waitFor();
		assert.equal((await board({ host, port, id: kitchenId, secret: 'not-the-secret' })).accepted, false);
		await first.getByText('It knocked and was refused').waitFor();
		await first.getByText('unknown device id or wrong secret', { exact: false }).waitFor();

		const kitchen = await board({ host, port, id: kitchenId, secret, answer: (payload) => `kitchen says ${payload}` });
		assert.ok(kitchen.accepted);
		await first.getByText(`${kitchenId} is online`).waitFor();
		await shot(page, 'add-device-online');
		await first.getByRole('link', { name: 'Open the device' }).click();

		await page.getByRole('heading', { name: 'Kitchen' }).waitFor();
		await page.getByTestId('live').waitFor();
		kitchen.publish('me/data', '{"temperature":21.5,"door":"open"}');
		await tile(page, 'temperature').getByText('21.5').waitFor();
		kitchen.publish('me/data', '{"temperature":22}');
		await page.locator('[data-stream="temperature"] [data-value="22"]').waitFor();
		await page.getByText('Ask', { exact: true }).click();
		await page.getByLabel('What to push').fill('hello');
		await button(page, 'Send').click();
		await page.getByTestId('answer').getByText('kitchen says hello').waitFor();

		kitchen.leave();
		await page.locator('[data-testid="presence"][data-online="false"]').waitFor();
		await page.getByText('Last seen').waitFor();
	});
});

test('a push for a device that is away waits, and can be taken back', async () => {
	await visit({}, async (page) => {
		await page.goto(`/device/${kitchenId}`);
		await page.getByText('The device is away: the push is kept until it comes back.').waitFor();
		await page.getByLabel('What to push').fill('later');
		await button(page, 'Send').click();
		const newest = page.locator('[data-testid="deliveries"] > li').first();
		await newest.getByText('later').waitFor();
		await page.locator('[data-testid="deliveries"] > [data-state="queued"]').waitFor();
		await button(newest, 'Take back').click();
		await page.locator('[data-testid="deliveries"] > [data-state="cancelled"]').waitFor();
	});
});

test('the refused login stands among the knocks, with its reason', async () => {
	await visit({}, async (page) => {
		await page.goto('/');
		const knocks = page.getByTestId('knocks');
		await knocks.getByText('Refused logins').click();
		await knocks.getByText('Unknown device id or wrong secret.').first().waitFor();
		await knocks.getByText(kitchenId).first().waitFor();
	});
});

test('names and tags are edited, and others see it at once', async () => {
	await visit({}, async (page) => {
		await page.goto(`/device/${kitchenId}`);
		await page.getByTestId('live').waitFor();
		await button(page, 'Edit').click();
		const dialog = page.getByRole('dialog');
		await dialog.getByLabel('Name').fill('Kitchen window');
		await dialog.getByLabel('Tags').fill('floor-1, window, floor-1');
		await button(dialog, 'Save').click();
		await page.getByRole('heading', { name: 'Kitchen window' }).waitFor();
		await page.getByText('floor-1', { exact: true }).waitFor();
		// Somebody else edits: the event stream brings it.
		await api(page, 'PATCH', `devices/${kitchenId}`, { name: 'Kitchen door' });
		await page.getByRole('heading', { name: 'Kitchen door' }).waitFor();
	});
});

test('a new secret shuts the old one out', async () => {
	await visit({}, async (page) => {
		await page.goto(`/device/${kitchenId}`);
		await button(page, 'New secret').click();
		const dialog = page.getByRole('dialog');
		await button(dialog, 'Make a new secret').click();
		assert.ok((await dialog.getByTestId('secret').innerText()).length >= 8);
		await page.keyboard.press('Escape');
		await dialog.waitFor({ state: 'detached' });
	});
});

test('deleting asks for the id, and then the device is gone', async () => {
	await visit({}, async (page) => {
		await page.goto(`/device/${kitchenId}`);
		await button(page, 'Delete').click();
		const dialog = page.getByRole('dialog');
		assert.ok(await button(dialog, 'Delete for good').isDisabled());
		await dialog.getByRole('textbox').fill(kitchenId);
		await button(dialog, 'Delete for good').click();
		await page.waitForURL((url) => url.pathname === '/');
		await page.locator('[data-device="lamp"]').waitFor();
		assert.equal(await page.locator(`[data-device="${kitchenId}"]`).count(), 0);
		await page.goto(`/device/${kitchenId}`);
		await page.getByRole('alert').getByText('there is no device', { exact: false }).waitFor();
	});
});

test('apps and tokens: made, used, taken away', async () => {
	await visit({}, async (page) => {
		await page.goto('/settings');
		await button(page, 'New app').click();
		let dialog = page.getByRole('dialog');
		await dialog.getByLabel('Name').fill(appName);
		await button(dialog, 'Create').click();
		const app = page.locator('[data-app]', { hasText: appName });
		await app.waitFor();
		await button(app, 'Show').click();
		assert.match(await app.locator('code').innerText(), /^[0-9a-f]{32}$/);
		const open = app.getByRole('checkbox');
		assert.equal(await open.isChecked(), false);
		await open.check();
		const id = Number(await app.getAttribute('data-app'));
		await page.waitForFunction(async (id) => (await (await fetch(`/api/v1/apps/${id}`)).json()).open, id);
		assert.equal(await app.getByRole('combobox').inputValue(), 'app');
		await app.getByRole('combobox').selectOption('any');
		await page.waitForFunction(async (id) => (await (await fetch(`/api/v1/apps/${id}`)).json()).peers === 'any', id);

		await button(page, 'New token').click();
		dialog = page.getByRole('dialog');
		await dialog.getByLabel('What is it for?').fill(`test ${run}`);
		await dialog.getByLabel('Viewer').check();
		await button(dialog, 'Create').click();
		const token = await dialog.getByTestId('secret').innerText();
		await button(dialog, 'Close').last().click();
		const status = async () => (await fetch(`${server.url}/api/v1/devices`, { headers: { Authorization: `Bearer ${token}` } })).status;
		assert.equal(await status(), 200);
		await shot(page, 'settings-desk');
		await button(page, `Delete the token “test ${run}”?`).click();
		await button(page.getByRole('dialog'), 'Delete').click();
		await page.getByTestId('tokens').getByText(`test ${run}`).waitFor({ state: 'detached' });
		assert.equal(await status(), 401);

		await button(page, `Delete the app “${appName}”?`).click();
		await button(page.getByRole('dialog'), 'Delete').click();
		await app.waitFor({ state: 'detached' });
	});
});

test('an MQTT account: made with its rules, given others, taken away', async () => {
	await visit({}, async (page) => {
		const name = `gateway ${run}`;
		const account = () => page.evaluate(async (name) => (await (await fetch('/api/v1/accounts')).json()).items.find((one) => one.name === name), name);
		await page.goto('/settings');
		await button(page, 'New account').click();
		const dialog = page.getByRole('dialog');
		await dialog.getByLabel('User name').fill(name);
		await dialog.getByLabel('Rules').fill('deny both home/safe\n\n  allow both home/#\n');
		await button(dialog, 'Create').click();
		assert.match(await dialog.getByTestId('secret').innerText(), /^\S{32}$/);
		await button(dialog, 'Close').last().click();
		await page.getByTestId('accounts').getByText(name).waitFor();
		assert.deepEqual((await account()).rules, ['deny both home/safe', 'allow both home/#']);

		await button(page, `Rules of ${name}`).click();
		await shot(page, 'account-desk');
		await dialog.getByLabel('Rules').fill('allow subscribe %u/news');
		await button(dialog, 'Save').click();
		await dialog.waitFor({ state: 'detached' });
		assert.deepEqual((await account()).rules, ['allow subscribe %u/news']);

		await button(page, `Delete the account “${name}”?`).click();
		await button(dialog, 'Delete').click();
		await page.getByTestId('accounts').getByText(name).waitFor({ state: 'detached' });
		assert.equal(await account(), undefined);
	});
});

test('a webhook: made, tested, switched off and taken away; a token for one purpose', async () => {
	for (const viewport of [DESK, PHONE]) {
		await visit({ viewport }, async (page) => {
			const name = `ops ${run} ${viewport.width}`;
			await page.goto('/settings');
			await button(page, 'New webhook').click();
			const dialog = page.getByRole('dialog');
			await dialog.getByLabel('What is it for?').fill(name);
			await dialog.getByLabel('URL').fill('http://127.0.0.1:1/hook');
			await button(dialog, 'Create').click();
			await dialog.getByText('is not called', { exact: false }).waitFor();
			// A name is looked at when it is called.
			await dialog.getByLabel('URL').fill('http://localhost:1/hook');
			await dialog.getByLabel('presence').check();
			await dialog.getByLabel('Only of these devices').fill('id = lamp');
			await shot(page, `webhook-${viewport.width}`);
			await button(dialog, 'Create').click();
			assert.match(await dialog.getByTestId('secret').innerText(), /^whsec_/);
			await button(dialog, 'Close').last().click();
			const row = page.locator('[data-webhook]', { hasText: name });
			await row.getByText('0 waiting', { exact: false }).waitFor();
			const hook = await page.evaluate(async (id) => (await fetch(`/api/v1/webhooks/${id}`)).json(), await row.getAttribute('data-webhook'));
			assert.deepEqual([hook.kinds, hook.where], [['presence'], 'id = lamp']);
			await button(row, `Post a test event to “${name}”`).click();
			await page.getByRole('status').getByText('The test event was not taken', { exact: false }).waitFor();
			assert.equal(await overflow(page), 0);
			await shot(page, `webhooks-${viewport.width}`);
			await row.getByRole('checkbox').uncheck();
			await row.getByText('off', { exact: true }).waitFor();
			await button(row, `Delete the webhook “${name}”?`).click();
			await button(dialog, 'Delete').click();
			await row.waitFor({ state: 'detached' });

			await button(page, 'New token').click();
			await dialog.getByLabel('What is it for?').fill(name);
			await dialog.getByLabel('data:read').check();
			await dialog.getByLabel('Ends').selectOption('month');
			await button(dialog, 'Create').click();
			await dialog.getByTestId('secret').waitFor();
			await button(dialog, 'Close').last().click();
			const token = page.getByTestId('tokens').locator('li', { hasText: name });
			await token.getByText('data:read').waitFor();
			await token.getByText('ends', { exact: false }).waitFor();
			await button(token, `Delete the token “${name}”?`).click();
			await button(dialog, 'Delete').click();
			await token.waitFor({ state: 'detached' });
		});
	}
});

test('a schedule: seen with its next run, paused, looked up and removed', async () => {
	await visit({}, async (page) => {
		const name = `night ${run}`;
		await page.goto('/');
		const push = { audience: { device: 'lamp' }, text: 'off', ask: true };
		const made = await api(page, 'POST', 'schedules', { name, push, when: { daily: '22:00', time_zone: 'Asia/Shanghai' } });
		await page.getByRole('link', { name: 'Schedules' }).first().click();
		const row = page.locator(`[data-schedule="${made.id}"]`);
		await row.getByText('every day at 22:00 (Asia/Shanghai)').waitFor();
		assert.equal(await row.locator('[data-next] time').getAttribute('datetime'), made.next);
		await button(row, `Pause “${name}”`).click();
		await row.getByText('paused', { exact: true }).waitFor();
		await button(row, `Log of “${name}”`).click();
		await row.getByText('It has not run yet.').waitFor();
		await shot(page, 'schedules-desk');
		await button(row, `Let “${name}” go on`).click();
		await row.locator('[data-next] time').waitFor();
		// A run of its own, waited for on the page.
		const soon = new Date(Date.now() + 1_500).toISOString();
		const once = await api(page, 'POST', 'schedules', { name: `once ${run}`, push, when: { at: soon } });
		await page.reload();
		const ran = page.locator(`[data-schedule="${once.id}"]`);
		await button(ran, `Log of “once ${run}”`).click();
		await ran.getByTestId('runs').getByText(/pushed, number \d+/).waitFor();
		await button(row, `Remove the schedule “${name}”?`).click();
		await button(page.getByRole('dialog'), 'Delete').click();
		await row.waitFor({ state: 'detached' });
	});
});

test('one who may only read is told so', async () => {
	const token = await visit({}, async (page) => {
		await page.goto('/');
		return (await api(page, 'POST', 'tokens', { name: 'reader', role: 'viewer' })).token;
	});
	await visit({ storageState: undefined }, async (page) => {
		await page.goto('/signin?next=/device/lamp');
		await page.getByLabel('Or use an API token').fill(token);
		await button(page, 'Sign in').click();
		await page.waitForURL('**/device/lamp');
		await page.getByText('Your sign-in may only read', { exact: false }).waitFor();
		assert.ok(await button(page, 'On').isDisabled());
		assert.ok(await button(page, 'Send').isDisabled());
		assert.equal(await button(page, 'Delete').count(), 0);
	});
});

test('the language follows the browser, and changes for good', async () => {
	await visit({ locale: 'zh-CN' }, async (page) => {
		await page.goto('/');
		await page.getByRole('heading', { name: '设备' }).waitFor();
		assert.equal(await page.getAttribute('html', 'lang'), 'zh-CN');
	});
	await visit({}, async (page) => {
		await page.goto('/');
		await button(page, '切换到中文').click();
		await page.getByRole('heading', { name: '设备' }).waitFor();
		await page.goto('/device/lamp');
		await button(page, '开').click();
		await page.locator('[data-testid="lamp"][data-on="true"]').waitFor();
		await page.getByText('已执行').first().waitFor();
		await shot(page, 'device-desk-zh');
		await button(page, 'Switch to English').click();
		await button(page, 'On').waitFor();
	});
});

test('light and dark follow the system until one chooses', async () => {
	const shade = (page) => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);
	await visit({ colorScheme: 'dark' }, async (page) => {
		await page.goto('/');
		await page.locator('[data-device="lamp"]').waitFor();
		assert.equal(await shade(page), 'dark');
		await shot(page, 'devices-desk-dark');
		await button(page, 'Switch to the light theme').click();
		assert.equal(await shade(page), 'light');
		await page.reload();
		await button(page, 'Switch to the dark theme').waitFor();
		assert.equal(await shade(page), 'light');
	});
});

test('no page is wider than its screen, on a phone and on a desk, in both languages', async () => {
	const widths = { small: { width: 320, height: 640 }, phone: PHONE, tablet: { width: 768, height: 1024 }, desk: DESK };
	for (const [size, viewport] of Object.entries(widths)) {
		for (const locale of ['en-US', 'zh-CN']) {
			await visit({ viewport, locale }, async (page) => {
				for (const [path, there] of [
					['/', '[data-device="lamp"]'],
					['/device/lamp', '[data-testid="log"]'],
					['/schedules', '[data-testid="schedules"]'],
					['/settings', '[data-testid="status"]'],
					['/signin', 'form']
				]) {
					await page.goto(path);
					await page.locator(there).first().waitFor();
					assert.equal(await overflow(page), 0, `${path} ${size} ${locale}`);
					if (size === 'phone') await shot(page, `phone-${locale}${path.replaceAll('/', '-')}`);
				}
			});
		}
	}
});

test('a lost line is told, and found again by itself', async (t) => {
	const wire = await tap(server.url);
	t.after(wire.close);
	await visit({ baseURL: wire.url }, async (page) => {
		await page.goto('/device/lamp');
		await page.getByTestId('live').waitFor();
		await page.getByTestId('lamp').waitFor();
		wire.cut();
		await page.getByTestId('lost').waitFor();
		// What happens meanwhile is on the page when the line stands again.
		const on = (await page.getByTestId('lamp').getAttribute('data-on')) === 'true';
		const answer = await fetch(`${server.url}/d/lamp?ask=1`, { method: 'POST', body: on ? 'off' : 'on' });
		assert.equal(answer.status, 200);
		wire.mend();
		await page.getByTestId('live').waitFor();
		await page.getByTestId('lost').waitFor({ state: 'detached' });
		await page.locator(`[data-testid="lamp"][data-on="${!on}"]`).waitFor();
	});
});

test('a session that ends elsewhere leads to the sign-in page, which says so and leads back', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await page.getByTestId('lamp').waitFor();
		const { url } = await api(page, 'POST', 'tokens/signin');
		await page.context().clearCookies();
		// The next call finds out; should one still have been on its way, the page has left already.
		await page.evaluate(() => document.querySelector('[data-testid="lamp"] button')?.click());
		await page.waitForURL('**/signin?next=*');
		await page.getByText('Your sign-in has ended', { exact: false }).waitFor();
		// The new link, pasted into the same page: only the part after # changes.
		await page.evaluate((hash) => (location.hash = hash), new URL(url).hash);
		await page.getByTestId('lamp').waitFor();
		assert.equal(new URL(page.url()).pathname, '/device/lamp');

		// And out again, on purpose.
		await page.getByRole('link', { name: 'Settings' }).first().click();
		await button(page, 'Sign out').click();
		await page.waitForURL((url) => url.pathname === '/signin');
		assert.equal((await page.request.get('/api/v1/session')).status(), 401);
	});
});

test('in all of this no script failed, no policy was broken and nothing was asked of other hosts', () => {
	assert.deepEqual(faults, []);
});
