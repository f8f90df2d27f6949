// The client: what each method asks of the server, and how it reads the answer.
import { named, problem, Problem, Unreachable } from './errors.js';
import * as models from './models.js';
import type { Audience, Delivery, Device, Event, Outcome, Page, Point, Preview, Push, Raw, Sent, Twin, TwinChange, Value } from './models.js';
import { Backoff, Parser, SILENCE_MS } from './sse.js';

/** Rows of a page, where somebody reads them all. */
const ROWS = 1000;

/** How long a file may take, beyond an ordinary answer. */
const FILE_MS = 600_000;
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
  /** A newer push takes the place of one that waits with the same. */
  collapse?: string;
  /** The most devices a second. */
  perSecond?: number;
  /** Of what waits for a device, `high` goes first. */
  priority?: 'high' | 'normal' | 'low';
  /** When it begins; now unless said. */
  at?: Date;
  /** Members that this version does not know. */
  extra?: Record<string, unknown>;
}

export interface SendOptions {
  /** The payload, as JSON. */
  json?: unknown;
}

export interface ResendOptions extends Pick<PushOptions, 'wait' | 'ttl' | 'key'> {
  /** The devices where it is in one of these; failed, expired and refused unless said. */
  states?: models.State[];
}

/** What may be said of a device. */
export interface DeviceAbout {
  name?: string;
  alias?: string;
  tags?: string[];
  /** What to write down; `null` strikes out. */
  meta?: Record<string, Value | null>;
  open?: boolean;
}

export interface AuditFilter {
  who?: string;
  target?: string;
  call?: string;
  failed?: boolean;
  since?: Date;
  until?: Date;
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

/** What is to be carried. */
function content(payload: Payload | undefined, options: SendOptions): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  if (typeof payload === 'string') body.text = payload;
  else if (payload) body.hex = Array.from(payload, (byte) => byte.toString(16).padStart(2, '0')).join('');
  if ('json' in options) body.json = options.json;
  return body;
}

/** The body of a message to a number, or to a device by its id. */
export function message(to: number | string, payload: Payload | undefined, options: SendOptions = {}): object {
  return { to, ...content(payload, options) };
}

/** The body of a push. */
export function order(to: Audience, payload: Payload | undefined, options: PushOptions, more: object = {}): object {
  const audience = typeof to === 'string' ? { device: to } : 'all' in to ? 'all' : to;
  const body: Record<string, unknown> = { audience, ...more };
  Object.assign(body, content(payload, options));
  if (options.ttl !== undefined) body.ttl_s = options.ttl;
  if (options.key !== undefined) body.idempotency_key = options.key;
  if (options.collapse !== undefined) body.collapse = options.collapse;
  if (options.perSecond !== undefined) body.per_second = options.perSecond;
  if (options.priority !== undefined) body.priority = options.priority;
  if (options.at !== undefined) body.at = options.at.toISOString();
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

  /** Writes to a number, whoever has it, or to a device by its id. Nothing waits for one who is away: then it throws. */
  send(to: number | string, payload?: Payload, options: SendOptions = {}): Promise<Sent> {
    return this.#do('POST', path(['send']), models.sent, message(to, payload, options));
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

  /** Sends a push once more, to the devices where it failed, expired or was refused, or is in one of `states`. */
  resend(id: number, options: ResendOptions = {}): Promise<Push> {
    const body = { states: options.states, ttl_s: options.ttl, idempotency_key: options.key, wait_ms: options.wait };
    return this.#do('POST', path(['pushes', id, 'resend']), models.push, body, options.wait);
  }

  /** Registers a device; with its `secret`, which is shown this once. */
  createDevice(app: number, id?: string, about: DeviceAbout & { secret?: string } = {}): Promise<Device & { secret: string }> {
    const read = (raw: Raw) => ({ ...models.device(raw), secret: raw.secret as string });
    return this.#do('POST', path(['devices']), read, { app, id, ...about });
  }

  /** Changes what is given; the rest stays. */
  editDevice(id: string, about: DeviceAbout & { blocked?: boolean }): Promise<Device> {
    return this.#do('PATCH', path(['devices', id]), models.device, about);
  }

  /** Removes a device and everything kept for it. */
  deleteDevice(id: string): Promise<void> {
    return this.#do('DELETE', path(['devices', id]), () => undefined);
  }

  /** Gives a device a new secret, shown this once. The old one ends now, or after `overlap` seconds. */
  newSecret(id: string, overlap = 0): Promise<{ secret: string; old_until?: string }> {
    return this.#do('POST', path(['devices', id, 'secret']), (raw) => raw, { overlap_s: overlap });
  }

  /** Registers and changes devices from a file. What became of its rows; `done` stands last. */
  async importDevices(csv: string, options: { mode?: 'create' | 'update' | 'upsert'; dryRun?: boolean } = {}): Promise<Raw[]> {
    const address = path(['devices', 'import'], { mode: options.mode, dry_run: options.dryRun });
    const text = await this.#text('POST', address, csv);
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }

  /** Devices as CSV. */
  exportDevices(filter: DeviceFilter & { group?: string } = {}): Promise<string> {
    return this.#text('GET', path(['devices', 'export'], { ...filter }));
  }

  /** All groups. */
  groups(): Promise<Raw[]> {
    return this.#do('GET', path(['groups']), (raw) => raw.items);
  }

  /** Gives a query a name. */
  createGroup(name: string, where: string): Promise<Raw> {
    return this.#do('POST', path(['groups']), (raw) => raw, { name, where });
  }

  /** Another query, or another name. */
  editGroup(name: string, change: { name?: string; where?: string }): Promise<Raw> {
    return this.#do('PATCH', path(['groups', name]), (raw) => raw, change);
  }

  /** Removes a group that neither another nor a schedule names. */
  deleteGroup(name: string): Promise<void> {
    return this.#do('DELETE', path(['groups', name]), () => undefined);
  }

  /** All schedules, each with its next and its last run. */
  schedules(): AsyncGenerator<Raw> {
    return this.#all((cursor) => path(['schedules'], { limit: 100, cursor }), (raw) => raw);
  }

  /** What became of each moment of a schedule, newest first. */
  scheduleRuns(id: number): AsyncGenerator<Raw> {
    return this.#all((cursor) => path(['schedules', id, 'runs'], { limit: ROWS, cursor }), (raw) => raw);
  }

  /** Pushes again and again. `push` is the body of a push, `when` such as `{ daily: '22:00', time_zone: 'UTC' }`. */
  createSchedule(name: string, push: object, when: object, options: { grace?: number } = {}): Promise<Raw> {
    return this.#do('POST', path(['schedules']), (raw) => raw, { name, push, when, grace_s: options.grace });
  }

  /** Changes what is given; the rest stays. */
  editSchedule(id: number, change: { name?: string; paused?: boolean; push?: object; when?: object; grace_s?: number }): Promise<Raw> {
    return this.#do('PATCH', path(['schedules', id]), (raw) => raw, change);
  }

  /** Removes a schedule with its log. Its pushes stay. */
  deleteSchedule(id: number): Promise<void> {
    return this.#do('DELETE', path(['schedules', id]), () => undefined);
  }

  /** Who changed what, newest first. Only for owners. */
  audit(filter: AuditFilter = {}): AsyncGenerator<Raw> {
    const { since, until, ...rest } = filter;
    return this.#all((cursor) => path(['audit'], { ...rest, from: since, to: until, limit: ROWS, cursor }), (raw) => raw);
  }

  /** Logins that were refused, newest first. */
  knocks(): Promise<Raw[]> {
    return this.#do('GET', path(['knocks']), (raw) => raw.items);
  }

  /** Registers one that knocked with the key of an app that takes no new devices. */
  adopt(device: string): Promise<Device> {
    return this.#do('POST', path(['knocks', 'adopt']), models.device, { device });
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
  events(options: EventOptions = {}): AsyncGenerator<Event> {
    return this.#follow(path(['events'], { device: options.device }), options);
  }

  /**
   * What is written to this client's number, without an end. First `hello` tells the number, and again whenever a line that
   * broke stands anew (what was written meanwhile is lost); then each message is an event `addressed`.
   */
  listen(options: { signal?: AbortSignal } = {}): AsyncGenerator<Event> {
    return this.#follow(path(['events'], { addressed: true, events: false }), options);
  }

  async *#follow(address: string, options: EventOptions): AsyncGenerator<Event> {
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
        const answer = await this.#fetch(this.#url + address, { headers, signal: line.signal });
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

  /** A call whose answer is no JSON, and what it sends neither. */
  async #text(method: string, address: string, csv?: string): Promise<string> {
    const headers: Record<string, string> = { ...this.#headers };
    if (csv !== undefined) headers['Content-Type'] = 'text/csv';
    try {
      const call: RequestInit = { method, headers, signal: AbortSignal.timeout(this.#timeout + FILE_MS) };
      if (csv !== undefined) call.body = csv;
      const answer = await this.#fetch(this.#url + address, call);
      const text = await answer.text();
      if (!answer.ok) throw problem(answer.status, text);
      return text;
    } catch (error) {
      throw named(error);
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
