// The client: what each method asks of the server, and how it reads the answer.
import { named, problem, Problem, Unreachable } from './errors.js';
import * as models from './models.js';
import type { Audience, Delivery, Device, Event, Outcome, Page, Point, Preview, Push, Raw, Twin, TwinChange, Value } from './models.js';
import { Backoff, Parser, SILENCE_MS } from './sse.js';

/** Rows of a page, where somebody reads them all. */
const ROWS = 1000;

/**
 * How often a call is made again that the server refused because there were too many. It has done nothing then, so every
 * call may be.
 */
const RETRIES_MAX = 3;

/** The longest pause before that. Who is to wait longer is told so. */
const RETRY_S_MAX = 10;

/** How long to wait before a call is made again; `undefined`: not at all. */
export function retryMs(status: number, retryAfter: string | null, retries: number): number | undefined {
  if (status !== 429 || retries >= RETRIES_MAX || !/^\d+$/.test(retryAfter ?? '')) return undefined;
  const seconds = Number(retryAfter);
  return seconds <= RETRY_S_MAX ? seconds * 1000 : undefined;
}

/** Bytes or text; anything else goes into `json`. */
export type Payload = string | Uint8Array;

export interface Options {
  /** From `espush token add`. In a page of the server itself, leave it out: the browser's session is used. */
  token?: string;
  /** Milliseconds for each answer, beyond what a call is told to wait. */
  timeout?: number;
  /** Another `fetch`, for tests or proxies. */
  fetch?: typeof fetch;
}

export interface PushOptions {
  /** The payload, as JSON. */
  json?: unknown;
  /** Milliseconds to wait until the deliveries are through, or rest. */
  wait?: number;
  /** Seconds after which it is not worth delivering any more; 0 is now or never. */
  ttl?: number;
  /** The same key is the same push. */
  key?: string;
  /** Members that this version does not know. */
  extra?: Record<string, unknown>;
}

export interface PreviewOptions extends Omit<PushOptions, 'wait' | 'key'> {
  outcome?: Outcome;
  limit?: number;
  cursor?: string;
}

export interface DeviceFilter {
  where?: string;
  app?: number;
  online?: boolean;
  q?: string;
}

export interface PointFilter {
  stream?: string;
  since?: Date;
  until?: Date;
}

export interface EventOptions {
  device?: string;
  /** Go on after the event with this id. */
  after?: string;
  /** Ends the stream. */
  signal?: AbortSignal;
}

type Query = Record<string, string | number | boolean | Date | null | undefined>;

/** An address under `/api/v1`, with what is given of the query. */
export function path(parts: (string | number)[], query: Query = {}): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === null ? [] : [`${name}=${encodeURIComponent(value instanceof Date ? value.toISOString() : value)}`],
  );
  const address = `/api/v1/${parts.map(encodeURIComponent).join('/')}`;
  return given.length ? `${address}?${given.join('&')}` : address;
}

/** The body of a push. */
export function order(to: Audience, payload: Payload | undefined, options: PushOptions, more: object = {}): object {
  const audience = typeof to === 'string' ? { device: to } : 'all' in to ? 'all' : to;
  const body: Record<string, unknown> = { audience, ...more };
  if (typeof payload === 'string') body.text = payload;
  else if (payload) body.hex = Array.from(payload, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if ('json' in options) body.json = options.json;
  if (options.ttl !== undefined) body.ttl_s = options.ttl;
  if (options.key !== undefined) body.idempotency_key = options.key;
  if (options.wait !== undefined) body.wait_ms = options.wait;
  return { ...body, ...options.extra };
}

function only(push: Push): Delivery {
  const [delivery] = push.deliveries;
  if (!delivery) throw new Unreachable('the server answered without the delivery');
  return delivery;
}

/** A client of one espush server. */
export class Client {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeout: number;
  readonly #fetch: typeof fetch;

  constructor(url: string, options: Options = {}) {
    this.#url = url.replace(/\/+$/, '');
    this.#headers = { 'X-Espush': '1', ...(options.token ? { Authorization: `Bearer ${options.token}` } : {}) };
    this.#timeout = options.timeout ?? 10_000;
    this.#fetch = options.fetch ?? ((...call) => fetch(...call));
  }

  /** Pushes to a device or an audience. With `wait`, comes back when the deliveries are through or rest, or after so long. */
  push(to: Audience, payload?: Payload, options: PushOptions = {}): Promise<Push> {
    return this.#do('POST', path(['push']), models.push, order(to, payload, options), options.wait);
  }

  /** Pushes to one device and waits for its answer. The state `applied` has one; look at it. */
  async ask(device: string, payload?: Payload, options: PushOptions = {}): Promise<Delivery> {
    const told = { wait: 10_000, ...options };
    return only(await this.#do('POST', path(['push']), models.push, order(device, payload, told, { ask: true }), told.wait));
  }

  /** Tells the device's firmware to do something, such as `reboot`, and waits for its answer. */
  async command(device: string, command: string, payload?: Payload, options: PushOptions = {}): Promise<Delivery> {
    const told = { wait: 10_000, ...options };
    return only(await this.#do('POST', path(['push']), models.push, order(device, payload, told, { command }), told.wait));
  }

  /** What a push would do. Nothing is pushed. */
  preview(to: Audience, payload?: Payload, options: PreviewOptions = {}): Promise<Preview> {
    const { outcome, limit, cursor, ...rest } = options;
    return this.#do('POST', path(['push', 'preview'], { outcome, limit, cursor }), models.preview, order(to, payload, rest));
  }

  /** One push, with its first thousand deliveries unless told otherwise. */
  getPush(id: number, options: { deliveries?: boolean } = {}): Promise<Push> {
    return this.#do('GET', path(['pushes', id], { deliveries: options.deliveries }), models.push);
  }

  /** All pushes, newest first. */
  pushes(): AsyncGenerator<Push> {
    return this.#all((cursor) => path(['pushes'], { limit: 100, cursor }), models.push);
  }

  /** All deliveries of a push. */
  deliveries(id: number): AsyncGenerator<Delivery> {
    return this.#all((cursor) => path(['pushes', id, 'deliveries'], { limit: ROWS, cursor }), models.delivery);
  }

  /** Takes back what is not acknowledged yet. */
  cancelPush(id: number): Promise<void> {
    return this.#do('DELETE', path(['pushes', id]), () => undefined);
  }

  /** All devices that a query chooses, page by page as they are looked at. */
  devices(filter: string | DeviceFilter = {}): AsyncGenerator<Device> {
    const wanted = typeof filter === 'string' ? { where: filter } : filter;
    return this.#all((cursor) => path(['devices'], { ...wanted, limit: ROWS, cursor }), models.device);
  }

  /** One page of them. */
  devicesPage(filter: DeviceFilter & { limit?: number; cursor?: string } = {}): Promise<Page<Device>> {
    return this.#do('GET', path(['devices'], { ...filter }), models.page(models.device));
  }

  /** One device. */
  device(id: string): Promise<Device> {
    return this.#do('GET', path(['devices', id]), models.device);
  }

  /** The newest value of each stream. */
  latest(device: string): Promise<Point[]> {
    return this.#do('GET', path(['devices', device, 'latest']), (raw) => raw.items.map(models.point));
  }

  /** Points, oldest first, page by page as they are looked at. */
  points(device: string, filter: PointFilter = {}): AsyncGenerator<Point> {
    const query = { stream: filter.stream, from: filter.since, to: filter.until, limit: ROWS };
    return this.#all((cursor) => path(['devices', device, 'points'], { ...query, cursor }), models.point);
  }

  /** Stores points; how many were stored. */
  upload(device: string, values: Record<string, Value> | Point[]): Promise<number> {
    return this.#do('POST', path(['devices', device, 'points']), (raw) => raw.stored, values);
  }

  /** What is wanted of a device, what it tells of itself, and what differs. */
  twin(device: string): Promise<Twin> {
    return this.#do('GET', path(['devices', device, 'twin']), models.twin);
  }

  /**
   * Changes what is wanted of a device by a merge patch: `null` removes a member. With `version`, only if what is wanted
   * still has that one; else a `Problem` with the code `version_conflict`.
   */
  patchDesired(device: string, patch: Record<string, unknown>, options: { version?: number } = {}): Promise<Twin> {
    return this.#do('PATCH', path(['devices', device, 'twin', 'desired'], options), models.twin, patch);
  }

  /** Puts another value in the place of what is wanted of a device. */
  replaceDesired(device: string, value: Record<string, unknown>, options: { version?: number } = {}): Promise<Twin> {
    return this.#do('PUT', path(['devices', device, 'twin', 'desired'], options), models.twin, value);
  }

  /** All changes of a twin that are remembered, newest first; of one part, or of both. */
  twinHistory(device: string, part?: TwinChange['part']): AsyncGenerator<TwinChange> {
    return this.#all((cursor) => path(['devices', device, 'twin', 'history'], { part, limit: ROWS, cursor }), models.twinChange);
  }

  /** How the server is. */
  status(): Promise<Record<string, Raw>> {
    return this.#do('GET', path(['status']), (raw) => raw);
  }

  /**
   * What happens, as it happens, without an end. A line that breaks is called again, from the last event on. Throws when
   * the first call fails, and when the server refuses later (the token was removed, the device is gone).
   */
  async *events(options: EventOptions = {}): AsyncGenerator<Event> {
    const backoff = new Backoff();
    let lastId = options.after ?? null;
    let stood = false;
    while (!options.signal?.aborted) {
      // One for each line: it also ends a line that has gone silent.
      const line = new AbortController();
      const end = () => line.abort(options.signal?.reason);
      options.signal?.addEventListener('abort', end);
      let silence = setTimeout(() => line.abort(new DOMException('silence', 'TimeoutError')), this.#timeout);
      try {
        const headers: Record<string, string> = { ...this.#headers, Accept: 'text/event-stream' };
        if (lastId !== null) headers['Last-Event-ID'] = lastId;
        const address = this.#url + path(['events'], { device: options.device });
        const answer = await this.#fetch(address, { headers, signal: line.signal });
        if (!answer.ok || !answer.body) throw problem(answer.status, await answer.text());
        stood = true;
        const parser = new Parser(lastId);
        const text = new TextDecoder();
        const reader = answer.body.getReader();
        for (;;) {
          clearTimeout(silence);
          silence = setTimeout(() => line.abort(new DOMException('silence', 'TimeoutError')), SILENCE_MS);
          const { done, value } = await reader.read();
          if (done) break;
          backoff.stood();
          // While somebody looks at an event, no silence is measured.
          clearTimeout(silence);
          for (const event of parser.feed(text.decode(value, { stream: true }))) {
            if (event.id !== null) lastId = event.id;
            yield event;
          }
        }
      } catch (error) {
        if (options.signal?.aborted) return;
        const told = named(error);
        const passes = told instanceof Problem ? told.status >= 500 || told.status === 429 : told instanceof Unreachable;
        if (!stood || !passes) throw told;
      } finally {
        clearTimeout(silence);
        options.signal?.removeEventListener('abort', end);
        line.abort();
      }
      await pause(backoff.pauseMs(), options.signal);
    }
  }

  async #do<T>(method: string, address: string, read: (raw: Raw) => T, body?: object, wait = 0): Promise<T> {
    const headers: Record<string, string> = { ...this.#headers };
    const call: RequestInit = { method, headers };
    if (body !== undefined) {
      headers['Content-Type'] = 'application/json';
      call.body = JSON.stringify(body);
    }
    try {
      for (let retries = 0; ; retries += 1) {
        const answer = await this.#fetch(this.#url + address, { ...call, signal: AbortSignal.timeout(this.#timeout + wait) });
        const text = await answer.text();
        if (answer.ok) return read(text === '' ? undefined : JSON.parse(text));
        const ms = retryMs(answer.status, answer.headers.get('Retry-After'), retries);
        if (ms === undefined) throw problem(answer.status, text);
        await pause(ms);
      }
    } catch (error) {
      throw named(error);
    }
  }

  async *#all<T>(address: (cursor: string | null) => string, read: (raw: Raw) => T): AsyncGenerator<T> {
    let cursor: string | null = null;
    do {
      const page: Page<T> = await this.#do('GET', address(cursor), models.page(read));
      yield* page.items;
      cursor = page.next;
    } while (cursor !== null);
  }
}

/** Waits, or less if somebody gives up. */
function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}
