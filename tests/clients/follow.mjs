// Prints the value of each point of a device, and ends after 99.
import { Client, Problem } from 'espush';

const { ESPUSH_URL, ESPUSH_TOKEN, DEVICE } = process.env;
const espush = new Client(ESPUSH_URL, { token: ESPUSH_TOKEN });
try {
	for await (const event of espush.events({ device: DEVICE })) {
		if (event.kind !== 'points') continue;
		const { value } = event.data.items[0];
		console.log(value);
		if (value === 99) break;
	}
} catch (error) {
	if (!(error instanceof Problem)) throw error;
	console.error(error.code);
	process.exitCode = 1;
}
