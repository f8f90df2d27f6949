// Server-sent events out of text, and when to call again after a line broke. Deliberately absent: sockets and clocks.
import type { Event } from './models.js';

/** After so much silence the line is dead: the server says something every 15 seconds. */
export const SILENCE_MS = 45_000;

/** Takes text as it comes, gives events as they are whole. */
export class Parser {
  #rest = '';
  #kind = 'message';
  #data: string[] = [];
  #id: string | null = null;

  constructor(public lastId: string | null = null) {}

  feed(chunk: string): Event[] {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.flatMap((line) => this.#line(line.replace(/\r$/, '')) ?? []);
  }

  #line(line: string): Event | null {
    if (line === '') {
      const event = this.#data.length ? { kind: this.#kind, data: JSON.parse(this.#data.join('\n')), id: this.#id } : null;
      if (event && this.#id !== null) this.lastId = this.#id;
      this.#kind = 'message';
      this.#data = [];
      this.#id = null;
      return event;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') this.#kind = value;
    else if (name === 'data') this.#data.push(value);
    else if (name === 'id') this.#id = value;
    else if (name === '' && value.startsWith('some events since Last-Event-ID')) return { kind: 'gap', data: { why: value }, id: null };
    return null;
  }
}

/**
 * How long to wait before the next call: half a second at first, twice as long each time, a minute at most, and by
 * chance less, so that many clients do not come back at once.
 */
export class Backoff {
  #failures = 0;

  stood(): void {
    this.#failures = 0;
  }

  pauseMs(): number {
    const whole = Math.min(500 * 2 ** this.#failures, 60_000);
    this.#failures = Math.min(this.#failures + 1, 10);
    return whole * (0.5 + Math.random() / 2);
  }
}
