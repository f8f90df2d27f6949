// One ticking second for every "3 min ago" on the page, by the server's clock.
import { session } from '$lib/api/session.svelte';

let now = $state(Date.now());
if (typeof window !== 'undefined') setInterval(() => (now = Date.now()), 1000);

/** The server's time now, in ms; ticks once a second. */
export function serverNow(): number {
	return now + session.skewMs;
}
