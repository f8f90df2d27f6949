// "Copy as curl": the same push from a shell. The short form where it says all, the full API where it does not.
import { shell } from './quote';

export interface Order {
	device: string;
	/** Whether anyone may push to the device without a token. */
	open: boolean;
	/** `message`, `ask`, or a command's verb. */
	order: string;
	hex: boolean;
	payload: string;
}

/** The command line for an order, against `origin` (`http://host:8080`). */
export function curl(order: Order, origin: string): string {
	const ask = order.order === 'ask';
	const simple = !order.hex && (ask || order.order === 'message');
	const token = simple && order.open ? [] : ['-H', shell('Authorization: Bearer TOKEN')];
	if (simple) {
		const url = `${origin}/d/${encodeURIComponent(order.device)}${ask ? '?ask=1' : ''}`;
		// With -d a text that begins with @ would name a file.
		const data = order.payload.startsWith('@') ? '--data-raw' : '-d';
		return ['curl', ...token, data, shell(order.payload), shell(url)].join(' ');
	}
	const body: Record<string, unknown> = { audience: { device: order.device } };
	body[order.hex ? 'hex' : 'text'] = order.payload;
	if (ask) body.ask = true;
	else if (order.order !== 'message') body.command = order.order;
	body.wait_ms = 5000;
	return ['curl', ...token, '-H', shell('Content-Type: application/json'), '-d', shell(JSON.stringify(body)), shell(`${origin}/api/v1/push`)].join(' ');
}
