// Light or dark: the system's wish until the reader chooses; early.js applies the choice before the first paint.
const KEY = 'espush.theme';

type Theme = 'light' | 'dark';

const system = typeof window === 'undefined' ? undefined : matchMedia('(prefers-color-scheme: dark)');

let chosen = $state<Theme | undefined>(read());
let systemDark = $state(system?.matches ?? false);
system?.addEventListener('change', (event) => (systemDark = event.matches));

function read(): Theme | undefined {
	if (typeof document === 'undefined') return undefined;
	const theme = document.documentElement.dataset.theme;
	return theme === 'light' || theme === 'dark' ? theme : undefined;
}

/** The theme in use. */
export function theme(): Theme {
	return chosen ?? (systemDark ? 'dark' : 'light');
}

/** Changes to the other one. Choosing what the system wants anyway follows the system again. */
export function toggleTheme() {
	const next: Theme = theme() === 'dark' ? 'light' : 'dark';
	const follows = next === (systemDark ? 'dark' : 'light');
	chosen = follows ? undefined : next;
	try {
		if (follows) {
			delete document.documentElement.dataset.theme;
			localStorage.removeItem(KEY);
		} else {
			document.documentElement.dataset.theme = next;
			localStorage.setItem(KEY, next);
		}
	} catch {
		// Storage may be forbidden; then it holds for this page only.
	}
}
