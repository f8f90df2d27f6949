// The client of espush: push to devices and see what became of it, read what they measured, watch what happens.
export { Client } from './client.js';
export type { DeviceFilter, EventOptions, Options, Payload, PointFilter, PreviewOptions, PushOptions, SendOptions } from './client.js';
export { EspushError, Problem, TimedOut, Unreachable } from './errors.js';
export { ALL } from './models.js';
export type { Audience, Delivery, Device, Event, Outcome, Page, Point, Preview, Push, Sent, State, Twin, TwinChange, TwinPart, Value } from './models.js';
export { verifyWebhook, WebhookError } from './webhooks.js';
export type { WebhookEvent, WebhookHeaders, WebhookOptions } from './webhooks.js';
