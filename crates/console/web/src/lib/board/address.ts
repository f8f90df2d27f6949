// Where a board finds this server: the host of the page and the ports the server listens on.
import type { Status } from '$lib/api/types';

export interface Address {
	host: string;
	/** `http://host:8080`, for curl. */
	origin: string;
	/** Ports by listener name; a listener that is off is missing. */
	ports: Partial<Record<string, number>>;
}

/** The port of `0.0.0.0:1883` or `[::]:1883`. */
export function portOf(addr: string): number | undefined {
	const port = Number(addr.slice(addr.lastIndexOf(':') + 1));
	return Number.isInteger(port) && port > 0 ? port : undefined;
}

export function addressOf(location: { hostname: string; origin: string }, status: Status | undefined): Address {
	const ports: Address['ports'] = {};
	for (const { name, addr } of status?.listeners ?? []) ports[name] = portOf(addr);
	return { host: location.hostname, origin: location.origin, ports };
}

/** Whether a board on the network cannot mean us by this name. */
export function isLoopback(host: string): boolean {
	return host === 'localhost' || host === '[::1]' || /^127\./.test(host);
}

/**
 * The number that `AT+ESPUSH_TEST=` wants: the IPv4 address as a little-endian 32-bit decimal
 * (192.168.1.10 is 167880896). `null` for a name or an IPv6 address.
 */
export function atAddress(host: string): number | null {
	const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(host)?.slice(1).map(Number);
	if (!parts || parts.some((part) => part > 255)) return null;
	return parts.reduceRight((all, part) => all * 256 + part, 0);
}
