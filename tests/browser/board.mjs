// A board played by hand: just enough MQTT 3.1.1 to log in, listen, answer what is asked and send values.
import { once } from 'node:events';
import net from 'node:net';

const text = (value) => {
	const bytes = Buffer.from(value);
	return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

// Everything sent here is shorter than 128 bytes times 128: two length bytes are enough.
const packet = (first, ...parts) => {
	const body = Buffer.concat(parts);
	const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
	return Buffer.concat([Buffer.from([first, ...length]), body]);
};

/** Logs in; `accepted` tells whether the server let it in. `answer` is given the payload of an ask. */
export async function board({ host, port, id, secret, answer = (payload) => payload }) {
	const socket = net.connect(port, host);
	await once(socket, 'connect');
	socket.write(packet(0x10, text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text('board'), text(id), text(secret)));
	const publish = (topic, payload) => socket.write(packet(0x30, text(topic), Buffer.from(payload)));
	let waiting = Buffer.alloc(0);
	const accepted = await new Promise((resolve) => {
		socket.on('close', () => resolve(false));
		socket.on('error', () => resolve(false));
		socket.on('data', (chunk) => {
			waiting = Buffer.concat([waiting, chunk]);
			for (;;) {
				if (waiting.length < 2) return;
				const long = waiting[1] > 127;
				if (long && waiting.length < 3) return;
				const head = long ? 3 : 2;
				const length = long ? (waiting[1] & 127) | (waiting[2] << 7) : waiting[1];
				if (waiting.length < head + length) return;
				const [first, body] = [waiting[0], waiting.subarray(head, head + length)];
				waiting = waiting.subarray(head + length);
				if (first === 0x20) {
					// Both filters of a device, with an acknowledgement for what comes.
					if (body[1] === 0) socket.write(packet(0x82, Buffer.from([0, 1]), text('me/push'), Buffer.from([1]), text('me/ask/+'), Buffer.from([1])));
					resolve(body[1] === 0);
				} else if (first >> 4 === 3) {
					const end = 2 + body.readUInt16BE(0);
					const topic = body.toString('utf8', 2, end);
					const acknowledged = (first & 6) !== 0;
					if (acknowledged) socket.write(packet(0x40, body.subarray(end, end + 2)));
					const payload = body.toString('utf8', acknowledged ? end + 2 : end);
					if (topic.startsWith('me/ask/')) publish(`me/answer/${topic.slice(7)}`, answer(payload));
				}
			}
		});
	});
	return { accepted, publish, leave: () => socket.end(Buffer.from([0xe0, 0])) };
}
