// When a schedule runs, in words. Pure: the words and how a time is shown come in as arguments.
import type { When } from '$lib/api/types';

interface Words {
	once: (at: string) => string;
	every: (seconds: number) => string;
	daily: (time: string) => string;
	weekly: (days: string[], time: string) => string;
}

/** `every day at 07:30 (Europe/Berlin)`. */
export function moments(when: When, words: Words, shown: (at: string) => string): string {
	if (when.at !== undefined) return words.once(shown(when.at));
	if (when.every_s !== undefined) return words.every(when.every_s);
	const zone = ` (${when.time_zone ?? 'UTC'})`;
	if (when.daily !== undefined) return words.daily(when.daily) + zone;
	if (when.weekly !== undefined) return words.weekly(when.weekly.days, when.weekly.time) + zone;
	return (when.cron ?? '') + zone;
}
