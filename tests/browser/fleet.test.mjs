// Looking after a fleet in the console: notes, QR codes, schedules made and changed, and an address that is no page.
// Its own program and sign-in; every wait is for something on screen.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import mqtt from 'mqtt';
import { api, button, launch, open, overflow, PHONE, shot } from './browser.mjs';
import { house } from './house.mjs';

const run = Date.now().toString(36);
let server;
let browser;
let signed;
const faults = [];

before(async () => {
	server = await house();
	browser = await launch();
	await visit({ storageState: undefined }, async (page) => {
		await page.goto(server.signin);
		await page.getByRole('heading', { name: 'Devices' }).waitFor();
		signed = await page.context().storageState();
	});
});

after(async () => {
	await browser?.close();
	await server?.stop();
});

/** Runs `act` with a page, signed in. */
async function visit(options, act) {
	const visitor = await open(browser, server.url, { storageState: signed, ...options });
	try {
		return await act(visitor.page);
	} finally {
		faults.push(...visitor.faults);
		await visitor.close();
	}
}

/** Until the picture is drawn: how wide it is by itself. */
const drawn = (image) =>
	image.evaluate((element) => (element.complete ? undefined : new Promise((done) => element.addEventListener('load', done)))).then(() => image.evaluate((element) => element.naturalWidth));

test('notes about a device are written, shown, corrected and struck out', async () => {
	await visit({}, async (page) => {
		await page.goto('/device/lamp');
		await button(page, 'Edit').click();
		const dialog = page.getByRole('dialog');
		await dialog.getByLabel('Notes').fill('room = B 12\nnonsense');
		await button(dialog, 'Save').click();
		await dialog.getByRole('alert').getByText('“nonsense” is no note', { exact: false }).waitFor();
		await dialog.getByLabel('Notes').fill('room = B 12\nfloor = 3\n楼 = 东');
		await button(dialog, 'Save').click();
		await dialog.waitFor({ state: 'detached' });
		await page.getByText('B 12', { exact: true }).waitFor();
		assert.deepEqual((await api(page, 'GET', 'devices/lamp')).meta, { room: 'B 12', floor: 3, 楼: '东' });
		await page.goto('/');
		await page.getByRole('searchbox').fill('meta.floor >= 3 and meta.楼 = 东');
		await page.locator('[data-device="lamp"]').waitFor();
		await page.goto('/device/lamp');
		await button(page, 'Edit').click();
		await dialog.getByLabel('Notes').fill('room = C 1');
		await button(dialog, 'Save').click();
		await dialog.waitFor({ state: 'detached' });
		assert.deepEqual((await api(page, 'GET', 'devices/lamp')).meta, { room: 'C 1' });
	});
});

test('a board that knocks at an app which takes no new ones is let in by a button', async (t) => {
	if (!server.mqtt) return t.skip('only with a program of our own');
	await visit({}, async (page) => {
		await page.goto('/');
		const app = await api(page, 'POST', 'apps', { name: `Porch ${run}` });
		const login = { username: String(app.id), password: app.key, clientId: '8454703', protocolVersion: 4, reconnectPeriod: 0 };
		const refused = mqtt.connect(`mqtt://${server.mqtt}`, login);
		await new Promise((done) => refused.once('error', done));
		refused.end(true);
		await page.getByTestId('knocks').locator('summary').click();
		const adopt = button(page, `Let it in as ${app.id}-8454703`);
		await page.getByTestId('knocks').getByText('The app does not accept new devices', { exact: false }).waitFor();
		await shot(page, 'knock-adopt-desk');
		await adopt.click();
		await adopt.waitFor({ state: 'detached' });
		await page.locator(`[data-device="${app.id}-8454703"]`).waitFor();
		const board = mqtt.connect(`mqtt://${server.mqtt}`, login);
		await new Promise((done) => board.once('connect', done));
		await page.locator(`[data-device="${app.id}-8454703"][data-online="true"]`).waitFor();
		board.end(true);
	});
});

test('QR codes of a device and of an app; the one with the key only when asked for', async () => {
	await visit({}, async (page) => {
		const asked = [];
		page.on('request', (request) => request.url().includes('/qr?') && asked.push(new URL(request.url()).search));
		await page.goto('/device/lamp');
		await button(page, 'QR code').click();
		const dialog = page.getByRole('dialog');
		assert.ok((await drawn(dialog.getByTestId('qr'))) > 0);
		await shot(page, 'qr-device-desk');
		const saving = page.waitForEvent('download');
		await dialog.getByRole('link', { name: 'Save as PNG' }).click();
		assert.equal((await saving).suggestedFilename(), 'devices-lamp.png');
		await button(dialog, 'Close').last().click();

		const [app] = (await api(page, 'GET', 'apps')).items;
		await page.goto(`/settings#app-${app.id}`);
		await button(page, `QR code of the app “${app.name}”`).click();
		await drawn(dialog.getByTestId('qr'));
		assert.ok(!asked.some((search) => search.includes('provisioning')), 'the key is not drawn unasked');
		await dialog.getByText('For devices', { exact: true }).click();
		await dialog.getByText('Show it to nobody else', { exact: false }).waitFor();
		assert.ok((await drawn(dialog.getByTestId('qr'))) > 0);
		assert.ok(asked.some((search) => search.includes('content=provisioning')));
	});
});

test('a schedule of each kind is made, with its next runs in sight', async () => {
	await visit({ timezoneId: 'Asia/Shanghai' }, async (page) => {
		await page.goto('/schedules');
		await button(page, 'New schedule').waitFor();
		const dialog = page.getByRole('dialog');
		const made = async (name, kind, fill, when) => {
			await button(page, 'New schedule').click();
			await dialog.getByLabel('Name of the schedule').fill(`${name} ${run}`);
			await dialog.getByText(kind, { exact: true }).click();
			await fill();
			await dialog.getByTestId('next-runs').locator('time').first().waitFor();
			await dialog.getByLabel('Device id').fill('lamp');
			await dialog.getByLabel('What to push').fill('off');
			await button(dialog, 'Create').click();
			await dialog.waitFor({ state: 'detached' });
			const all = (await api(page, 'GET', 'schedules')).items;
			const schedule = all.find((one) => one.name === `${name} ${run}`);
			assert.deepEqual(schedule.when, when);
			assert.deepEqual(schedule.push, { audience: { device: 'lamp' }, text: 'off' });
			await page.locator(`[data-schedule="${schedule.id}"] [data-next] time`).waitFor();
		};
		await made('once', 'Once', () => dialog.getByLabel('Moment').fill('2027-03-01T08:00'), { at: '2027-03-01T00:00:00.000Z' });
		await made(
			'often',
			'Every…',
			async () => {
				await dialog.getByLabel('Every', { exact: true }).fill('2');
				await dialog.getByLabel('Unit').selectOption('h');
			},
			{ every_s: 7200 }
		);
		await made('daily', 'Daily', () => dialog.getByLabel('Time of day').fill('22:30'), { daily: '22:30', time_zone: 'Asia/Shanghai' });
		await made(
			'weekly',
			'Weekly',
			async () => {
				await dialog.getByText('Fri', { exact: true }).click();
				await dialog.getByLabel('Time zone').fill('Europe/Berlin');
			},
			{ weekly: { days: ['mon', 'fri'], time: '22:00' }, time_zone: 'Europe/Berlin' }
		);
		await made('cron', 'Cron', () => dialog.getByLabel('Cron').last().fill('*/5 * * * *'), { cron: '*/5 * * * *', time_zone: 'Asia/Shanghai' });
		await button(page, 'New schedule').click();
		await dialog.getByTestId('next-runs').locator('time').first().waitFor();
		await shot(page, 'schedule-form-desk');
	});
});

test('what is wrong with a schedule stands at its field, and what was typed stays', async () => {
	await visit({}, async (page) => {
		await page.goto('/schedules');
		await button(page, 'New schedule').click();
		const dialog = page.getByRole('dialog');
		await dialog.getByText('Cron', { exact: true }).click();
		await dialog.getByLabel('Cron').last().fill('61 * * * *');
		await dialog.getByTestId('fault-when').getByText('61', { exact: false }).waitFor();
		await dialog.getByText('Daily', { exact: true }).click();
		await dialog.getByTestId('next-runs').locator('time').first().waitFor();
		const fault = (label) => dialog.locator('div', { has: page.getByLabel(label) }).last().getByRole('alert');
		await button(dialog, 'Create').click();
		await fault('Device id').getByText('Who is meant?').waitFor();
		await dialog.getByLabel('Device id').fill('lamp');
		await button(dialog, 'Create').click();
		await fault('Name of the schedule').waitFor();
		await dialog.getByLabel('Name of the schedule').fill(`right ${run}`);
		await dialog.getByLabel('To', { exact: true }).selectOption('where');
		await dialog.getByLabel('Query').fill('app = x');
		await button(dialog, 'Create').click();
		await fault('Query').getByText('whole number', { exact: false }).waitFor();
		await shot(page, 'schedule-fault-desk');
		await dialog.getByLabel('Query').fill('id = lamp');
		await dialog.getByText('JSON', { exact: true }).click();
		await dialog.getByLabel('What to push').fill('{"on":');
		await button(dialog, 'Create').click();
		await fault('What to push').getByText('This is not JSON.').waitFor();
		await dialog.getByLabel('What to push').fill('null');
		await button(dialog, 'Create').click();
		await dialog.waitFor({ state: 'detached' });
		const made = (await api(page, 'GET', 'schedules')).items.find((one) => one.name === `right ${run}`);
		assert.deepEqual(made.push, { audience: { where: 'id = lamp' }, json: null });
	});
});

test('a schedule is changed; what the form does not show stays as it was', async () => {
	await visit({}, async (page) => {
		await page.goto('/');
		const push = { audience: { tags: { all: ['hall'] } }, text: 'off', priority: 'high', ttl_s: 60 };
		const made = await api(page, 'POST', 'schedules', { name: `dusk ${run}`, push, when: { daily: '18:00', time_zone: 'UTC' } });
		await page.goto('/schedules');
		await button(page, `Edit “dusk ${run}”`).click();
		const dialog = page.getByRole('dialog');
		assert.equal(await dialog.getByLabel('Time of day').inputValue(), '18:00');
		assert.equal(await dialog.getByLabel('Tags', { exact: false }).inputValue(), 'hall');
		await dialog.getByLabel('Time of day').fill('19:15');
		await dialog.getByLabel('Tags', { exact: false }).fill('hall, porch');
		await button(dialog, 'Save').click();
		await dialog.waitFor({ state: 'detached' });
		await page.locator(`[data-schedule="${made.id}"]`).getByText('every day at 19:15 (UTC)').waitFor();
		const now = await api(page, 'GET', `schedules/${made.id}`);
		assert.deepEqual(now.push, { ...push, audience: { tags: { all: ['hall', 'porch'] } } });
	});
});

test('the form fits a phone, in both languages', async () => {
	for (const locale of ['en-US', 'zh-CN']) {
		await visit({ viewport: PHONE, locale }, async (page) => {
			await page.goto('/schedules');
			await button(page, locale === 'zh-CN' ? '新建定时推送' : 'New schedule').click();
			const dialog = page.getByRole('dialog');
			await dialog.getByText(locale === 'zh-CN' ? '每周' : 'Weekly', { exact: true }).click();
			await dialog.getByTestId('next-runs').locator('time').first().waitFor();
			assert.ok((await overflow(page)) <= 0);
			assert.equal(await dialog.locator('.modal-box').evaluate((box) => box.scrollWidth - box.clientWidth), 0, locale);
			await shot(page, `schedule-form-phone-${locale}`);
		});
	}
});

test('an address that is no page says so and leads back', async () => {
	await visit({}, async (page) => {
		for (const path of ['/devices', '/nothing/of/this?kind=1']) {
			await page.goto(path);
			await page.getByRole('heading', { name: 'No such page' }).waitFor();
			await page.getByTestId('lost').getByRole('link', { name: 'Devices' }).click();
			await page.locator('[data-device="lamp"]').waitFor();
		}
		await page.goto('/devices');
		await page.getByTestId('lost').waitFor();
		await shot(page, 'lost-desk');
	});
	await visit({ locale: 'zh-CN', viewport: PHONE }, async (page) => {
		await page.goto('/devices');
		await page.getByRole('heading', { name: '没有这个页面' }).waitFor();
		assert.equal(await overflow(page), 0);
	});
});

test('in all of this no script failed, no policy was broken and nothing was asked of other hosts', () => {
	assert.deepEqual(faults, []);
});
