// The nouns of the HTTP API as they travel in JSON. Nothing here knows how they are fetched or shown.

export type Role = 'owner' | 'operator' | 'viewer';

export interface Session {
	name: string;
	role: Role;
	version: string;
	time: string;
}

export interface Page<T> {
	items: T[];
	next?: string | null;
}

/** Whom the devices of an app may write to of themselves. */
export type Peers = 'none' | 'app' | 'any';

export interface App {
	id: number;
	/** Only for operators and owners. */
	key?: string;
	name: string;
	open: boolean;
	single: boolean;
	peers: Peers;
	settings: Record<string, string>;
	created: string;
	devices: number;
}

export interface Presence {
	online: boolean;
	since: string | null;
	why: string;
	protocol: string;
	remote: string;
}

export interface Device extends Presence {
	id: string;
	number: number;
	app: number;
	name: string;
	alias: string;
	tags: string[];
	/** What its owner wrote down. */
	meta: Record<string, Value>;
	firmware: string;
	open: boolean;
	/** Not let in. */
	blocked: boolean;
	/** While the secret before works beside the newest. */
	old_secret?: { until: string; used: 'old' | 'new' | null; used_at: string | null };
	created: string;
}

/** A device just made; the secret is shown once. */
export interface NewDevice extends Device {
	secret: string;
}

/** A query under a name. */
export interface Group {
	name: string;
	where: string;
	created: string;
	/** The groups that name it. */
	users: string[];
}

/** When a schedule runs: one of these. */
export interface When {
	at?: string;
	every_s?: number;
	daily?: string;
	weekly?: { days: string[]; time: string };
	cron?: string;
	time_zone?: string;
}

export interface Run {
	at: string;
	ran: string;
	outcome: 'pushed' | 'failed' | 'missed';
	push?: number;
	missed?: number;
	detail?: string;
}

export interface Schedule {
	id: number;
	name: string;
	when: When;
	push: NewPush;
	grace_s: number;
	paused: boolean;
	next: string | null;
	runs: Run[];
}

/** A push as it is written; the members that a form shows. */
export interface NewPush {
	audience: unknown;
	text?: string;
	hex?: string;
	json?: unknown;
	base64?: string;
	ask?: boolean;
	command?: string;
	[more: string]: unknown;
}

export interface Token {
	id: number;
	name: string;
	role: Role;
	created: string;
	expires: string | null;
	/** What it may do within its role; empty for all. */
	scopes: string[];
	/** Only at devices that this query fits; empty for all. */
	where: string;
}

export interface Webhook {
	id: number;
	name: string;
	url: string;
	/** Empty for the usual ones. */
	kinds: string[];
	where: string;
	active: boolean;
	why_off?: string;
	waiting: number;
	failed: number;
	failing_since?: string;
	last_ok?: string;
	last_error?: string;
}

/** A webhook whose secret was just made; it is shown once. */
export interface NewWebhook extends Webhook {
	secret: string;
}

export interface Account {
	id: number;
	name: string;
	/** By which method the password is kept; `none` when nobody can log in by one. */
	password_kind: string;
	/** One a line, in the order in which they are asked. */
	rules: string[];
	created: string;
}

/** An account whose password was just made; it is shown once. */
export interface NewAccount extends Account {
	password?: string;
}

export type Value = number | boolean | string;

export interface Point {
	stream: string;
	at: string;
	value: Value;
}

/** Bytes for people: text where they are text, hex otherwise. */
export interface Shown {
	text?: string;
	hex?: string;
}

export interface Message extends Shown {
	/** `null` between parties that are no devices. */
	device: string | null;
	at: string;
	direction: 'up' | 'down';
	topic: string;
	bytes: number;
	cut: boolean;
	qos: number;
	retain: boolean;
}

export type DeliveryState =
	| 'queued'
	| 'sent'
	| 'delivered'
	| 'applied'
	| 'failed'
	| 'expired'
	| 'replaced'
	| 'refused'
	| 'cancelled';

export interface Delivery {
	device: string;
	state: DeliveryState;
	at: string;
	detail?: string;
	answer?: Shown;
}

export interface Push extends Shown {
	id: number;
	order: string;
	audience: { device?: string };
	/** Who sent it, for people. */
	sender: string;
	counts: Partial<Record<DeliveryState, number>>;
	created: string;
	expires: string | null;
	deliveries?: Delivery[];
}

export interface Knock {
	protocol: string;
	remote: string;
	claim: string;
	/** The device that it would be, if it can be adopted. */
	device?: string;
	/** A stable word for the reason. */
	code: string;
	reason: string;
	at: string;
}

export interface Fault {
	protocol: string;
	remote: string;
	device?: string;
	fault: string;
	why: string;
	at: string;
}

export interface Status {
	version: string;
	started: string;
	devices: number;
	online: number;
	apps: number;
	listeners: { name: string; addr: string }[];
	/** How the store is; the sentences are there when something is wrong. */
	store?: { full: string | null; failed: string | null; damaged: string | null };
}

export interface Alarm {
	alarm: 'store_full' | 'disk_failed' | 'store_damaged';
	raised: boolean;
	why: string;
	at: string;
}

export interface TwinPart {
	/** A JSON object. */
	value: Record<string, unknown>;
	version: number;
	/** When it changed last. */
	at: string | null;
}

/** What is wanted of a device, what it tells of itself, and what it is still to be told. */
export interface Twin {
	desired: TwinPart;
	reported: TwinPart;
	delta: Record<string, unknown>;
	/** The version of `desired` that the device has told to have dealt with. */
	acknowledged: number | null;
	/** Why the device cannot be told, if so. */
	note?: string;
}

/** What the event stream tells, by the name of the event. */
export interface Events {
	presence: Presence & { device: string };
	device: { device: string; change: 'registered' | 'edited' | 'removed' };
	message: Message;
	points: { device: string; items: Point[] };
	delivery: Delivery & { push: number };
	twin: { device: string; part: 'desired' | 'reported'; version: number };
	knock: Knock;
	fault: Fault;
	alarm: Alarm;
}
