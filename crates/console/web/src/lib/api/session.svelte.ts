// Who is signed in, and how far the server's clock is from ours.
import { call } from './http';
import type { Role, Session } from './types';

const RANK: Record<Role, number> = { viewer: 0, operator: 1, owner: 2 };

class Signed {
	/** `undefined` until the server said; `null` for nobody. */
	me = $state<Session | null | undefined>(undefined);
	/** The session ended while the console was open. */
	ended = $state(false);
	/** Server time minus our time. */
	skewMs = $state(0);

	async load() {
		this.#take(await call<Session>('GET', 'session', undefined, true));
	}

	async signIn(proof: { code: string } | { token: string }) {
		this.#take(await call<Session>('POST', 'session', proof, true));
	}

	async signOut() {
		await call('DELETE', 'session');
		this.me = null;
		this.ended = false;
	}

	/** Whether the one signed in may do what `role` may. */
	may(role: Role): boolean {
		return !!this.me && RANK[this.me.role] >= RANK[role];
	}

	#take(session: Session) {
		this.me = session;
		this.ended = false;
		const server = Date.parse(session.time);
		// A second or two is the way here and back, not a wrong clock.
		const skew = server - Date.now();
		this.skewMs = Number.isFinite(skew) && Math.abs(skew) > 2_000 ? skew : 0;
	}
}

export const session = new Signed();
