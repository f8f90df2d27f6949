// Whether a webhook comes from the server that has the secret (Standard Webhooks). By WebCrypto, which Node, browsers and
// edge workers all have.
import { EspushError } from './errors.js';

/** A request that is not to be believed. */
export class WebhookError extends EspushError {
  override name = 'WebhookError';
}

/** What a request brings. */
export interface WebhookEvent {
  /** The kind of the event, `gap` when some could not be kept, or `test`. */
  event: string;
  /** Its number among the live events; a `gap` and a `test` have none. */
  id?: string;
  data: Record<string, unknown>;
}

/** A `Headers`, or an object as Node's `request.headers` is. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

export interface WebhookOptions {
  /** How long ago it may have been signed, in seconds; 300 unless told. */
  tolerance?: number;
  /** The time in milliseconds, for tests. */
  now?: number;
}

/**
 * The event that a request brings, if it was signed with `secret` (`whsec_…`); else throws a `WebhookError`. `body` is what
 * came, byte for byte. Keep the header `webhook-id` of what you have dealt with: an event may come twice, with the same one.
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string,
  { tolerance = 300, now = Date.now() }: WebhookOptions = {},
): Promise<WebhookEvent> {
  const id = header(headers, 'webhook-id');
  const at = header(headers, 'webhook-timestamp');
  const signatures = header(headers, 'webhook-signature');
  // Nothing but digits: what is signed is the text.
  if (!/^\d{1,15}$/.test(at)) throw new WebhookError('the header webhook-timestamp is no time');
  if (Math.abs(now / 1000 - Number(at)) > tolerance) {
    throw new WebhookError('it was signed too long ago, or one of the clocks is wrong');
  }
  const text = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const before = new TextEncoder().encode(`${id}.${at}.`);
  const signed = new Uint8Array(before.length + text.length);
  signed.set(before);
  signed.set(text, before.length);
  const raw = bytes(secret.replace(/^whsec_/, ''));
  if (!raw) throw new WebhookError('this is no secret of a webhook');
  const key = await crypto.subtle.importKey('raw', raw, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
  let fits = false;
  // While a secret is being replaced there are several. `verify` takes the same time whether one fits or not.
  for (const signature of signatures.split(' ')) {
    const given = signature.startsWith('v1,') ? bytes(signature.slice(3)) : undefined;
    if (given && (await crypto.subtle.verify('HMAC', key, given, signed))) fits = true;
  }
  if (!fits) throw new WebhookError('no signature fits');
  try {
    return JSON.parse(new TextDecoder().decode(text));
  } catch {
    throw new WebhookError('the body is not JSON');
  }
}

function header(headers: WebhookHeaders, name: string): string {
  const found =
    headers instanceof Headers ? headers.get(name) : Object.entries(headers).find(([given]) => given.toLowerCase() === name)?.[1];
  if (typeof found !== 'string') throw new WebhookError(`the header ${name} is missing`);
  return found;
}

function bytes(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}
