// SvelteKit's own types are enough; this file makes them known.
declare global {
	namespace App {}
}
export {};
