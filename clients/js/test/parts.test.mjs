// The parts that need no server: events out of text, pauses, errors, addresses.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, order, path, retryMs } from '../dist/client.js';
import { named, problem, Problem, TimedOut, Unreachable } from '../dist/errors.js';
import { ALL, Client, verifyWebhook, WebhookError } from '../dist/index.js';
import { Backoff, Parser } from '../dist/sse.js';

const STREAM =
  ': hello\n\nid: 7\nevent: message\ndata: {"text":\ndata: "灯\u2028"}\n\n' +
  ': some events since Last-Event-ID are forgotten\n\n' +
  'id:8\r\nevent:alarm\r\ndata:{}\r\n\r\n' +
  'id: 9\n\nid: 10\nevent: alarm\ndata: {"unf';

test('events are whole however they come', () => {
  for (const size of [1, 3, 1000]) {
    const parser = new Parser();
    const found = [];
    for (let at = 0; at < STREAM.length; at += size) found.push(...parser.feed(STREAM.slice(at, at + size)));
    assert.deepEqual(found, [
      { kind: 'message', data: { text: '灯\u2028' }, id: '7' },
      { kind: 'gap', data: { why: 'some events since Last-Event-ID are forgotten' }, id: null },
      { kind: 'alarm', data: {}, id: '8' },
    ]);
    assert.equal(parser.lastId, '8', 'what has not come whole is asked for again');
  }
});

test('pauses grow to a minute and end with success', () => {
  const backoff = new Backoff();
  for (const whole of [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000, 60000, 60000]) {
    const pause = backoff.pauseMs();
    assert.ok(whole / 2 <= pause && pause <= whole, `${pause} of ${whole}`);
  }
  backoff.stood();
  assert.ok(backoff.pauseMs() <= 500);
});

test('too many requests are made again a few times and soon', () => {
  assert.deepEqual([0, 1, 2, 3].map((retries) => retryMs(429, '2', retries)), [2000, 2000, 2000, undefined]);
  assert.equal(retryMs(429, '10', 0), 10_000);
  for (const [status, header] of [[429, '11'], [429, null], [429, 'soon'], [503, '1'], [200, '1']]) {
    assert.equal(retryMs(status, header, 0), undefined);
  }
});

test('a call that was refused for now is made again', async () => {
  const answers = [new Response('', { status: 429, headers: { 'Retry-After': '0' } }), new Response('{"version":"1"}')];
  const espush = new Client('http://example.org', { fetch: async () => answers.shift() });
  assert.deepEqual(await espush.status(), { version: '1' });
});

test('errors are what the server says', () => {
  const told = problem(400, '{"code": "bad_where", "detail": "no", "hint": "so", "position": 3}');
  assert.ok(told instanceof Problem);
  assert.deepEqual([told.status, told.code, told.position, told.message], [400, 'bad_where', 3, 'no (so)']);
  for (const body of ['<html>', '[]', '{}', 'null']) assert.ok(problem(502, body) instanceof Unreachable, body);
  assert.ok(named(new DOMException('late', 'TimeoutError')) instanceof TimedOut);
});

test('what people type cannot change the address', () => {
  assert.equal(
    path(['devices', 'a/../b?c'], { limit: 5, where: 'x & "y"', online: true, cursor: null }),
    '/api/v1/devices/a%2F..%2Fb%3Fc?limit=5&where=x%20%26%20%22y%22&online=true',
  );
  assert.equal(path(['p'], { from: new Date(0) }), '/api/v1/p?from=1970-01-01T00%3A00%3A00.000Z');
});

test('an order is what was meant', () => {
  assert.deepEqual(order('lamp', 'on', { ttl: 0 }), { audience: { device: 'lamp' }, text: 'on', ttl_s: 0 });
  assert.deepEqual(order(ALL, Uint8Array.of(255, 1), {}), { audience: 'all', hex: 'ff01' });
  assert.deepEqual(order({ app: 7 }, undefined, { json: null, extra: { new: 1 } }), { audience: { app: 7 }, json: null, new: 1 });
});

test('a stream ends when its reader gives up, and with the first refusal', async () => {
  const answers = (status, body) => new Client('http://server', { fetch: async () => new Response(body, { status }) });
  await assert.rejects(answers(503, '{"code": "stopping", "detail": "x"}').events().next(), { code: 'stopping' });
  const signal = AbortSignal.abort();
  assert.deepEqual(await answers(200, '').events({ signal }).next(), { done: true, value: undefined });
});

test('a message to a number is what was meant', () => {
  assert.deepEqual(message(4_000_000_000, Uint8Array.of(255, 1)), { to: 4_000_000_000, hex: 'ff01' });
  assert.deepEqual(message('lamp', undefined, { json: null }), { to: 'lamp', json: null });
});

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const BODY = '{"test": 2432232314}';
// The example of the Standard Webhooks specification's reference libraries.
const HEADERS = {
  'Webhook-Id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
  'Webhook-Timestamp': '1614265330',
  'Webhook-Signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
};
const SIGNED = 1614265330_000;

test('a webhook is believed for five minutes', async () => {
  for (const late of [-300_000, 0, 300_000]) {
    assert.deepEqual(await verifyWebhook(BODY, HEADERS, SECRET, { now: SIGNED + late }), { test: 2432232314 });
  }
  const several = new Headers({ ...HEADERS, 'webhook-signature': `v1,AAAA v2,zzz ${HEADERS['Webhook-Signature']} v1,?` });
  several.set('webhook-signature', `v1,AAAA v2,zzz ${HEADERS['Webhook-Signature']} v1,?`);
  assert.ok(await verifyWebhook(new TextEncoder().encode(BODY), several, SECRET, { now: SIGNED }));
  for (const late of [-301_000, 301_000]) {
    await assert.rejects(verifyWebhook(BODY, HEADERS, SECRET, { now: SIGNED + late }), /too long ago/);
  }
});

test('a webhook that was changed is not believed', async () => {
  const changed = [
    [BODY.replace('4', '5'), HEADERS, SECRET],
    [BODY, { ...HEADERS, 'Webhook-Id': 'msg_2' }, SECRET],
    [BODY, { ...HEADERS, 'Webhook-Timestamp': '1614265331' }, SECRET],
    [BODY, { ...HEADERS, 'Webhook-Signature': '' }, SECRET],
    [BODY, HEADERS, 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'],
  ];
  for (const [body, headers, secret] of changed) {
    await assert.rejects(verifyWebhook(body, headers, secret, { now: SIGNED }), /no signature fits/);
  }
  for (const time of ['', 'now', '-1614265330', '9'.repeat(400)]) {
    const headers = { ...HEADERS, 'Webhook-Timestamp': time };
    await assert.rejects(verifyWebhook(BODY, headers, SECRET, { now: SIGNED }), WebhookError);
  }
  await assert.rejects(verifyWebhook(BODY, {}, SECRET), /webhook-id is missing/);
  await assert.rejects(verifyWebhook(BODY, HEADERS, 'whsec_?', { now: SIGNED }), WebhookError);
});
