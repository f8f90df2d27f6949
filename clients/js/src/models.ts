// The nouns of the API. Members that a newer server adds are left out, so that they do no harm.

/** JSON as it came. */
export type Raw = any;

/** What a device measures. */
export type Value = boolean | number | string;

/** Every device there is, as the audience of a push. */
export const ALL = Object.freeze({ all: true as const });

/** A device's id, or who is meant in other words. */
export type Audience =
  | string
  | typeof ALL
  | { device: string }
  | { devices: string[] }
  | { alias: string }
  | { app: number }
  | { group: string }
  | { tags: { all?: string[]; any?: string[]; none?: string[] } }
  | { where: string };

/** Some rows of a list. `next` is the cursor of those that follow, if any do. */
export interface Page<T> {
  items: T[];
  next: string | null;
}

export type State = 'queued' | 'sent' | 'delivered' | 'applied' | 'failed' | 'expired' | 'replaced' | 'refused' | 'cancelled';

/** The fate of a push at one device. */
export interface Delivery {
  device: string;
  state: State;
  at: Date;
  detail: string;
  /** What the device answered. */
  answer: Uint8Array | null;
  /** The answer as text; empty when there is none. */
  text: string;
}

/** A push, and how far it has come. */
export interface Push {
  id: number;
  order: string;
  audience: unknown;
  payload: Uint8Array;
  sender: string;
  devices: number;
  /** Devices of the audience whose delivery is still to be made. */
  remaining: number;
  /** Deliveries by state. */
  counts: Partial<Record<State, number>>;
  created: Date;
  expires: Date | null;
  /** The first thousand, where they were asked for. */
  deliveries: Delivery[];
}

export type Outcome = 'now' | 'later' | 'not';

/** What a push would do. */
export interface Preview {
  devices: number;
  now: number;
  later: number;
  never: number;
  reasons: { reason: string; devices: number; detail: string }[];
  unknown: string[];
  items: { device: string; online: boolean; protocol: string; outcome: Outcome; reason: string | null }[];
  next: string | null;
}

export interface Device {
  id: string;
  number: number;
  app: number;
  name: string;
  alias: string;
  tags: string[];
  firmware: string;
  open: boolean;
  /** It is not let in. */
  blocked: boolean;
  /** What its owner wrote down. */
  meta: Record<string, Value>;
  created: Date;
  online: boolean;
  /** Since when it is online, or is not. */
  since: Date | null;
  why: string;
  protocol: string;
  remote: string;
}

/** One value of one stream. */
export interface Point {
  stream: string;
  at: Date;
  value: Value;
}

/** What is wanted of a device, or what it tells of itself. */
export interface TwinPart {
  value: Record<string, unknown>;
  version: number;
  /** When it changed last; `null` if it never did. */
  at: Date | null;
}

/** Both parts of a device's twin, and what differs. */
export interface Twin {
  desired: TwinPart;
  reported: TwinPart;
  /** The merge patch that the device is still to be told. */
  delta: Record<string, unknown>;
  /** The version of `desired` that the device has told to have dealt with. */
  acknowledged: number | null;
  /** Why the device cannot be told, if so. */
  note: string | null;
}

/** A change of a twin. */
export interface TwinChange {
  part: 'desired' | 'reported';
  version: number;
  at: Date;
  who: string;
  /** The merge patch from the version before. */
  patch: Record<string, unknown>;
}

/** How far a message to a number came. Never that somebody has read it. */
export interface Sent {
  /** One's own number: answers go there. */
  from: number;
  to: number;
  /** Given to an open line, or kept for a device that is away. */
  state: 'sent' | 'kept';
}

/** Something that happened. `gap` says that some events before it are lost: load the state anew. */
export interface Event {
  kind: 'presence' | 'device' | 'message' | 'points' | 'delivery' | 'twin' | 'knock' | 'fault' | 'alarm' | 'hello' | 'addressed' | 'gap' | (string & {});
  data: Raw;
  id: string | null;
}

const date = (text: string | null): Date | null => (text === null ? null : new Date(text));

function content(raw: Raw): Uint8Array {
  if (raw.hex === undefined) return new TextEncoder().encode(raw.text);
  return Uint8Array.from(raw.hex.match(/../g) ?? [], (digits: string) => Number.parseInt(digits, 16));
}

export function delivery(raw: Raw): Delivery {
  const answer = raw.answer ? content(raw.answer) : null;
  const text = answer ? new TextDecoder().decode(answer) : '';
  return { device: raw.device, state: raw.state, at: new Date(raw.at), detail: raw.detail ?? '', answer, text };
}

export function push(raw: Raw): Push {
  const { id, order, audience, sender, devices, remaining, counts } = raw;
  const times = { created: new Date(raw.created), expires: date(raw.expires) };
  const deliveries = (raw.deliveries ?? []).map(delivery);
  return { id, order, audience, payload: content(raw), sender, devices, remaining, counts, ...times, deliveries };
}

export function preview(raw: Raw): Preview {
  const { devices, counts, reasons, unknown, next } = raw;
  const items = raw.items.map(({ device, online, protocol, outcome, reason = null }: Raw) => ({ device, online, protocol, outcome, reason }));
  return { devices, now: counts.now, later: counts.later, never: counts.not, reasons, unknown, items, next };
}

export function device(raw: Raw): Device {
  const { id, number, app, name, alias, tags, firmware, open, blocked, meta, online, why, protocol, remote } = raw;
  const times = { created: new Date(raw.created), since: date(raw.since) };
  return { id, number, app, name, alias, tags, firmware, open, blocked, meta, ...times, online, why, protocol, remote };
}

export function sent(raw: Raw): Sent {
  return { from: raw.from, to: raw.to, state: raw.state };
}

export function point(raw: Raw): Point {
  return { stream: raw.stream, at: new Date(raw.at), value: raw.value };
}

function twinPart(raw: Raw): TwinPart {
  return { value: raw.value, version: raw.version, at: date(raw.at) };
}

export function twin(raw: Raw): Twin {
  const { delta, acknowledged, note = null } = raw;
  return { desired: twinPart(raw.desired), reported: twinPart(raw.reported), delta, acknowledged, note };
}

export function twinChange(raw: Raw): TwinChange {
  const { part, version, who, patch } = raw;
  return { part, version, at: new Date(raw.at), who, patch };
}

/** A reader for a page of these. */
export function page<T>(read: (raw: Raw) => T): (raw: Raw) => Page<T> {
  return (raw) => ({ items: raw.items.map(read), next: raw.next });
}
