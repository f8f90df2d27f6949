// The life of a delivery on screen. States and their order are the server's (model::push).
import type { Delivery, DeliveryState } from '$lib/api/types';

/** The straight way of a delivery, in order. */
export const STEPS = ['queued', 'sent', 'delivered', 'applied'] as const;

/** Whether nothing can follow. */
export function isFinal(state: DeliveryState): boolean {
	return state !== 'queued' && state !== 'sent' && state !== 'delivered';
}

/** Whether it ended other than wished. */
export function isBad(state: DeliveryState): boolean {
	return isFinal(state) && state !== 'applied';
}

/** A delivery as followed by the page: the newest state and when each state was reached. */
export interface Followed extends Delivery {
	push: number;
	times: Partial<Record<DeliveryState, string>>;
}

/**
 * Takes news of a delivery. A reply to our own call may arrive after the events that followed it, so what is
 * older than what we know only fills in its time.
 */
export function follow(known: Followed | undefined, news: Delivery & { push: number }): Followed {
	const times = { ...known?.times };
	times[news.state] ??= news.at;
	if (known && (isFinal(known.state) || news.at < known.at || (news.at === known.at && rank(news.state) < rank(known.state)))) {
		return { ...known, times };
	}
	return { ...known, ...news, detail: news.detail, times };
}

function rank(state: DeliveryState): number {
	const at = STEPS.indexOf(state as (typeof STEPS)[number]);
	return at < 0 ? STEPS.length : at;
}
