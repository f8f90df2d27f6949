// The live line to the server: one event stream at a time, reopened until it stands again. Pages listen by
// event name and load their data in `refresh`, which runs whenever the stream (re)opens, so nothing is missed.
import { call, query, Problem } from './http';
import type { Events } from './types';

type Kind = keyof Events;
type Listener<K extends Kind> = (event: Events[K]) => void;

const KINDS: Kind[] = ['presence', 'device', 'message', 'points', 'delivery', 'twin', 'knock', 'fault', 'alarm'];
const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** A page in the background gives its stream back after this long: browsers allow few per server. */
const HIDDEN_MS = 60_000;

class Live {
	/** `idle` when no page wants a stream. */
	state = $state<'idle' | 'opening' | 'open' | 'lost'>('idle');

	#source: EventSource | null = null;
	#wanted: { device?: string; refresh: () => void } | null = null;
	#listeners = new Map<Kind, Set<Listener<Kind>>>();
	#tries = 0;
	#retry: ReturnType<typeof setTimeout> | undefined;
	#hide: ReturnType<typeof setTimeout> | undefined;

	constructor() {
		if (typeof document === 'undefined') return;
		document.addEventListener('visibilitychange', () => {
			clearTimeout(this.#hide);
			if (!this.#wanted) return;
			if (document.hidden) this.#hide = setTimeout(() => this.#drop(), HIDDEN_MS);
			else if (!this.#source) this.#open();
		});
		// A network that went away breaks no connection; waiting for that would take minutes.
		addEventListener('offline', () => this.#wanted && this.#lost());
		addEventListener('online', () => this.#wanted && this.state === 'lost' && this.#open());
	}

	/** Opens the stream (of one device, or of all) for as long as a page lives; returns what ends it. */
	watch(device: string | undefined, refresh: () => void): () => void {
		const wanted = { device, refresh };
		this.#wanted = wanted;
		this.state = 'opening';
		this.#tries = 0;
		this.#open();
		return () => {
			if (this.#wanted !== wanted) return;
			this.#wanted = null;
			this.#drop();
			this.state = 'idle';
		};
	}

	/** Hears events of one kind; returns what ends it. */
	on<K extends Kind>(kind: K, listener: Listener<K>): () => void {
		const set = this.#listeners.get(kind) ?? new Set();
		this.#listeners.set(kind, set);
		set.add(listener as Listener<Kind>);
		return () => set.delete(listener as Listener<Kind>);
	}

	#drop() {
		clearTimeout(this.#retry);
		this.#source?.close();
		this.#source = null;
	}

	#open() {
		this.#drop();
		const wanted = this.#wanted;
		if (!wanted) return;
		const source = new EventSource(`/api/v1/events${query({ device: wanted.device })}`);
		this.#source = source;
		let loaded = false;
		source.onopen = () => {
			this.state = 'open';
			this.#tries = 0;
			loaded = true;
			wanted.refresh();
		};
		source.onerror = () => {
			// The page shows what it can (at least why) even if there never was a stream.
			if (!loaded && this.#tries === 0) wanted.refresh();
			this.#lost();
		};
		for (const kind of KINDS) {
			source.addEventListener(kind, (event) => {
				const listeners = this.#listeners.get(kind);
				// A busy fleet sends much that the page at hand has no use for.
				if (!listeners?.size) return;
				const data = JSON.parse(event.data);
				for (const listener of listeners) listener(data);
			});
		}
	}

	#lost() {
		this.state = 'lost';
		this.#drop();
		const pause = PAUSES_MS[Math.min(this.#tries++, PAUSES_MS.length - 1)];
		this.#retry = setTimeout(() => this.#reopen(), pause);
	}

	// An EventSource does not tell a 401 from a dead server, so the session is asked first.
	async #reopen() {
		try {
			await call('GET', 'session');
		} catch (thrown) {
			if (Problem.of(thrown).status === 401) return;
		}
		this.#open();
	}
}

export const live = new Live();
