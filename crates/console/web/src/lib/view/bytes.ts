// Bytes as people read and write them. Mirrors the server's rules for hex.
import type { Shown } from '$lib/api/types';

/** Why `text` is not hex, or `null` when it is. Blanks between bytes are allowed. */
export function hexFault(text: string): 'digit' | 'odd' | null {
	const digits = text.replace(/\s+/g, '');
	if (/[^0-9a-fA-F]/.test(digits)) return 'digit';
	return digits.length % 2 ? 'odd' : null;
}

/** `0c01ff` → `0c 01 ff`. */
export function hexPairs(hex: string): string {
	return hex.replace(/(..)(?=.)/g, '$1 ');
}

/** Text as it is, hex in pairs. */
export function shown(bytes: Shown): string {
	return bytes.text ?? (bytes.hex === undefined ? '' : hexPairs(bytes.hex));
}

/** `512 B`, `3.1 KiB`. */
export function size(bytes: number): string {
	if (bytes < 1024) return `${bytes} B`;
	const kib = bytes / 1024;
	return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** How many bytes a text is in UTF-8. */
export function utf8Length(text: string): number {
	return new TextEncoder().encode(text).length;
}
