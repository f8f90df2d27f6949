// A wire between the browser and the program that can be cut and mended, as the network does it.
import { once } from 'node:events';
import net from 'node:net';

/** `{url, cut, mend, close}`: the same server under another port. */
export async function tap(target) {
	const { hostname, port } = new URL(target);
	const sockets = new Set();
	let whole = true;
	const server = net.createServer((near) => {
		if (!whole) return near.destroy();
		const far = net.connect(Number(port), hostname);
		for (const [one, other] of [
			[near, far],
			[far, near]
		]) {
			sockets.add(one);
			one.pipe(other);
			one.on('error', () => {});
			one.on('close', () => {
				sockets.delete(one);
				other.destroy();
			});
		}
	});
	server.listen(0, hostname);
	await once(server, 'listening');
	const drop = () => sockets.forEach((socket) => socket.destroy());
	return {
		url: `http://${hostname}:${server.address().port}`,
		cut: () => {
			whole = false;
			drop();
		},
		mend: () => (whole = true),
		close: async () => {
			drop();
			server.close();
			await once(server, 'close');
		}
	};
}
