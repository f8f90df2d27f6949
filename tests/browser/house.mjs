// The program under test: the one that ESPUSH_URL and ESPUSH_SIGNIN name, else one of our own, started from
// ESPUSH_BIN on free loopback ports with a data directory that goes with it.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/**
 * `{url, signin, stop}`: the console's address, a sign-in link that nobody has used, and the end of it. A house of
 * our own also has `{mqtt, token}`: `host:port` for devices, and its owner's token.
 */
export async function house() {
	const { ESPUSH_URL: url, ESPUSH_SIGNIN: signin } = process.env;
	if (!url !== !signin) throw new Error('set ESPUSH_URL and ESPUSH_SIGNIN together, or neither');
	if (url && signin) return { url: url.replace(/\/$/, ''), signin, stop: async () => {} };
	return started(process.env.ESPUSH_BIN ?? '../../target/debug/espush');
}

async function started(program) {
	const data = await mkdtemp(join(tmpdir(), 'espush-browser-'));
	const free = ['mqtt', 'espush', 'http'].flatMap((name) => ['--set', `${name}.listen=127.0.0.1:0`]);
	// The program takes every ESPUSH_… for a setting of its own.
	const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ESPUSH_')));
	const child = spawn(program, ['serve', '--demo', '--data', data, ...free], { env, stdio: ['ignore', 'pipe', 'inherit'] });
	const gone = new Promise((resolve) => child.once('close', resolve));
	let signin;
	let mqtt;
	let ready = false;
	for await (const line of createInterface({ input: child.stdout })) {
		mqtt ??= /^listening mqtt (\S+)/.exec(line)?.[1];
		signin ??= /^console (\S+\/signin#\S+)/.exec(line)?.[1];
		if (line === 'ready') {
			ready = true;
			break;
		}
	}
	if (!ready || !signin) throw new Error(`${program} ended before it was ready, or printed no sign-in link`);
	// What it still prints must not fill the pipe.
	child.stdout.resume();
	return {
		url: new URL(signin).origin,
		signin,
		mqtt,
		token: (await readFile(join(data, 'owner.token'), 'utf8')).trim(),
		stop: async () => {
			child.kill('SIGTERM');
			await gone;
			await rm(data, { recursive: true, force: true });
		}
	};
}
