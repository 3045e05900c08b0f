// A request is sent again where it surely did not reach its agent, and only there.
import diagnostics from 'node:diagnostics_channel';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ArcClient } from '../../src/client/arc-client.js';
import type { Call } from '../../src/client/call.js';
import { AgentUnreachableError, RateLimitExceededError } from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  connect,
  DEAD_PORT,
  DONE,
  drain,
  event,
  failure,
  freePort,
  heard,
  http,
  Peer,
  pair,
  piece,
  reasonOf,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  serve,
  stream,
} from './support.js';

/** Counts the connections to a port that could not be made. */
function countRefused(t: Test, port: number): () => number {
  let n = 0;
  const count = (message: unknown): void => {
    const { connectParams } = message as { connectParams: { port: string } };
    if (Number(connectParams.port) === port) n++;
  };
  diagnostics.subscribe('undici:client:connectError', count);
  t.teardown(() => diagnostics.unsubscribe('undici:client:connectError', count));
  return () => n;
}

/** Timers that keep this process alive. */
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

const RATE_LIMIT = { code: -44007, message: 'slow down' };
const RATE_LIMITED = refusal(RATE_LIMIT, 429, { 'content-type': 'application/json', 'retry-after': '0' });

t.test('an agent that comes up between two attempts is reached', async (t) => {
  for (const ask of [START, STREAM]) {
    const port = await freePort();
    const refused = countRefused(t, port);
    const url = `http://127.0.0.1:${port}`;
    const call = connect(t, { url }, { retries: 100 }).chat.start(ask);
    while (refused() === 0) await turn();
    const peer = new Peer([ask === START ? answer() : stream(DONE)]);
    t.teardown(() => peer.close());
    peer.server.listen(port, '127.0.0.1');
    await once(peer.server, 'listening');
    const got = await call;
    if (Symbol.asyncIterator in got) t.equal((await drain(got as never)).events.length, 1);
    else t.equal(got.result.chat.chatId, 'c1');
    t.equal(peer.requests.length, 1);
    t.same(peer.requests[0]?.json.params, {
      initialMessage: START.initialMessage,
      ...(ask === STREAM && { stream: true }),
    });
  }
});

t.test('an agent that stays down gets as many retries as `retries` says, two by default', async (t) => {
  for (const retries of [undefined, 0, 1, 3]) {
    const refused = countRefused(t, DEAD_PORT);
    const error = await failure(connect(t, { url: `http://127.0.0.1:${DEAD_PORT}` }, { retries }).chat.start(START));
    t.match(error, { code: -41003, reason: /connection refused \(ECONNREFUSED\)$/ });
    t.equal(refused(), 1 + (retries ?? 2));
  }
});

t.test('a call may have a number of its own', async (t) => {
  const refused = countRefused(t, DEAD_PORT);
  const client = connect(t, { url: `http://127.0.0.1:${DEAD_PORT}` });
  await heard(client, { retries: 0 }).ended;
  t.equal(refused(), 1);
  await failure(client.chat.start({ ...START, retries: 1 }));
  t.equal(refused(), 3);
});

t.test('the time-out runs over all attempts', async (t) => {
  const client = connect(t, { url: `http://127.0.0.1:${DEAD_PORT}` }, { retries: 1_000_000, timeout: 300 });
  // The pause that would outlast it is not begun: the agent’s own failure says more than a time-out.
  t.match(await failure(client.chat.start(START)), { reason: /ECONNREFUSED|did not answer within 300 ms/ });
});

t.test('what TLS or a name that there is not stop is not tried again', async (t) => {
  const peer = await serve(t, answer());
  peer.server.on('connection', (socket) => socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
  const client = connect(t, { url: peer.url.replace('http:', 'https:') });
  t.match(await failure(client.chat.start(START)), { reason: /TLS failed/ });
  t.equal(peer.connections, 1);
});

t.test('429 and 503 with a Retry-After are tried again when it is time', async (t) => {
  const page = { 'content-type': 'text/html' };
  const inASecond = new Date(Date.now() + 1000).toUTCString();
  const cases: Record<string, Buffer> = {
    'a proxy’s 503, in seconds': http(503, '<html>', { ...page, 'retry-after': '1' }),
    'a proxy’s 503, at once': http(503, '<html>', { ...page, 'retry-after': '0' }),
    'a proxy’s 503, at a date': http(503, '<html>', { ...page, 'retry-after': inASecond }),
    'a proxy’s 429, at a date that is past': http(429, '', { 'retry-after': 'Sun, 06 Nov 1994 08:49:37 GMT' }),
    'an agent’s 429': RATE_LIMITED,
    'an agent’s 503': refusal({ code: -41002, message: 'busy' }, 503, { 'retry-after': '0' }),
  };
  for (const [what, refuse] of Object.entries(cases)) {
    for (const ask of [START, STREAM]) {
      const { peer, client } = await pair(t, [refuse, ask === START ? answer() : stream(DONE)]);
      const got = await client.chat.start(ask);
      if (Symbol.asyncIterator in got) t.equal((await drain(got as never)).error, undefined, what);
      t.equal(peer.requests.length, 2, what);
      t.equal(peer.requests[0]?.body, peer.requests[1]?.body);
      t.same(peer.requests[0]?.headers, peer.requests[1]?.headers);
    }
  }
});

t.test('the wait is as long as the agent asks for', async (t) => {
  const at: number[] = [];
  const { client } = await pair(t, (socket) => {
    at.push(performance.now());
    socket.write(at.length === 1 ? http(503, '', { 'retry-after': '1' }) : answer());
  });
  await client.chat.start(START);
  const [first = 0, second = 0] = at;
  t.ok(second - first >= 1000);
});

t.test('if an agent refuses every retry, its last answer is the error', async (t) => {
  const { peer, client } = await pair(t, RATE_LIMITED);
  const error = await failure(client.chat.start(START));
  t.ok(error instanceof RateLimitExceededError);
  t.match(error, { ...RATE_LIMIT, fromAgent: true, status: 429 });
  t.equal(peer.requests.length, 3);
});

t.test('a Retry-After that is too long, or says nothing, or is not there, is an error at once', async (t) => {
  const far = new Date(Date.now() + 3_600_000).toUTCString();
  for (const after of ['31', '3600', far, 'soon', '-1', '1.5', '', undefined]) {
    const header: Record<string, string> = after === undefined ? {} : { 'retry-after': after };
    const options = { timeout: 30_000 };
    const html = await pair(t, http(503, '<html>', { 'content-type': 'text/html', ...header }), options);
    const error = await failure(html.client.chat.start(START));
    t.ok(error instanceof AgentUnreachableError, String(after));
    t.match(error, { status: 503, reason: 'Agent "support" gave no ARC answer: HTTP 503, text/html' });
    t.equal(html.peer.requests.length, 1);
    const arc = await pair(t, refusal(RATE_LIMIT, 429, header), options);
    t.match(await failure(arc.client.chat.start(START)), { ...RATE_LIMIT, fromAgent: true, status: 429 });
    t.equal(arc.peer.requests.length, 1);
  }
  const patient = await pair(t, http(503, '', { 'retry-after': '86400' }), { timeout: 0 });
  t.match(
    await failure(patient.client.chat.start(START)),
    { status: 503 },
    'nor does a call without a time-out wait a day',
  );
});

t.test('requests with other answers are not sent again because of a Retry-After', async (t) => {
  for (const status of [200, 500, 502, 301]) {
    const { peer, client } = await pair(t, http(status, '', { 'retry-after': '0' }));
    t.match(await failure(client.chat.start(START)), { status });
    t.equal(peer.requests.length, 1);
  }
  const { peer, client } = await pair(t, http(503, answer().toString().split('\r\n\r\n')[1], { 'retry-after': '0' }));
  t.equal((await client.chat.start(START)).result.chat.chatId, 'c1', 'a result is one, whatever the status');
  t.equal(peer.requests.length, 1);
});

t.test('a request whose answer is a stream is never sent again', async (t) => {
  const head = STREAM_HEAD.replace('200 OK', '503 Busy').replace('\r\n\r\n', '\r\nretry-after: 0\r\n\r\n');
  const { peer, client } = await pair(t, head + chunk(event('stream', piece('a')) + DONE));
  t.equal((await drain(await client.chat.start(STREAM))).events.length, 2);
  t.equal(peer.requests.length, 1);
});

t.test('a request that was written is not sent again, however it fails', async (t) => {
  const ends: Array<(socket: net.Socket) => unknown> = [
    (socket) => socket.end(),
    (socket) => socket.destroy(),
    (socket) => socket.resetAndDestroy(),
  ];
  for (const end of ends) {
    for (const isReused of [false, true]) {
      const { peer, client } = await pair(t, isReused ? [answer(), end] : end, { connections: 1 });
      if (isReused) await client.chat.start(START);
      t.match(await failure(client.chat.start(START)), { code: -41003 });
      t.equal(peer.requests.length, isReused ? 2 : 1);
    }
  }
});

t.test('a request that was written in part is not sent again', async (t) => {
  // The first bytes of it are the end of the connection: most of it is still on this side.
  const server = net.createServer((socket) =>
    socket.on('error', () => {}).once('data', () => socket.resetAndDestroy()),
  );
  let connections = 0;
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const client = connect(t, { url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}` });
  const message = { role: 'user', parts: [{ type: 'text', content: 'x'.repeat(10_000_000) }] };
  t.match(await failure(client.chat.start({ ...START, initialMessage: message })), { code: -41003 });
  t.equal(connections, 1);
});

t.test('a request whose connection was lost before anything was written is sent on another one', async (t) => {
  for (const end of ['resetAndDestroy', 'destroy'] as const) {
    const { peer, client } = await pair(t, answer(), { connections: 1 });
    await client.chat.start(START);
    // It looks alive from here: undici learns of its end when it is to be used.
    peer.sockets[0]?.[end]();
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1', end);
    t.equal(peer.requests.length, 2);
    t.equal(peer.connections, 2);
  }
});

t.test('a call that is given up while it waits to send again leaves no timer, and sends nothing', async (t) => {
  const later = http(503, '', { 'retry-after': '30' });
  const ways: Array<(client: ArcClient, call: Call) => unknown> = [
    (_client, call) => call.cancel(),
    (client) => client.close(),
  ];
  for (const giveUp of ways) {
    const { peer, client } = await pair(t, later, { timeout: 0 });
    const before = timers();
    const { call, ended } = heard(client);
    // Without a time-out there is no other.
    while (timers() === before) await turn();
    const closed = giveUp(client, call);
    t.equal(timers(), before);
    if (closed !== undefined) t.match(await ended, { reason: 'The client was closed' });
    await closed;
    t.equal(peer.requests.length, 1);
  }
});

t.test('a call waits for a Retry-After of more than a minute if its time-out allows', async (t) => {
  const { peer, client } = await pair(t, http(503, '', { 'retry-after': '61' }), { timeout: 300_000 });
  const before = timers();
  const { call, ended } = heard(client);
  // One is for the time-outs of all calls, the other for the pause.
  const waits = async (): Promise<string> => {
    while (timers() < before + 2) await turn();
    return 'waits';
  };
  t.equal(await Promise.race([ended, waits()]), 'waits');
  call.cancel();
  t.equal(peer.requests.length, 1);
});

t.test('a signal that is aborted while its call waits to be sent again rejects it', async (t) => {
  const { peer, client } = await pair(t, http(503, '', { 'retry-after': '30' }), { timeout: 0 });
  const before = timers();
  const controller = new AbortController();
  const failed = reasonOf(client.chat.start({ ...START, signal: controller.signal }));
  while (timers() === before) await turn();
  controller.abort('enough');
  t.equal(timers(), before);
  t.equal(await failed, 'enough');
  t.equal(peer.requests.length, 1);
});

t.test('a refused token is renewed in a retry, too', async (t) => {
  let n = 0;
  const { peer, client } = await pair(t, [http(503, '', { 'retry-after': '0' }), http(401), answer()], {
    token: () => `t${++n}`,
  });
  await client.chat.start(START);
  t.same(
    peer.requests.map(({ headers }) => headers.authorization),
    ['Bearer t1', 'Bearer t1', 'Bearer t2'],
  );
});
