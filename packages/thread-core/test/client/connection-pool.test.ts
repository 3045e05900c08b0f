// Connections are kept, used again, and closed: counted at the agent.
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { withDeadline } from '@arc/test-client';
import t from 'tap';
import type { ArcClient } from '../../src/client/arc-client.js';
import {
  answer,
  chunk,
  connect,
  DONE,
  drain,
  event,
  failure,
  http,
  LAST_CHUNK,
  pair,
  piece,
  type Reply,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  serve,
  stream,
  writeApart,
} from './support.js';

/** A call, and what becomes of it; nothing is thrown. */
async function settle(client: ArcClient, ask: object): Promise<void> {
  const asked = await client.chat.start({ ...START, ...ask }).catch(() => undefined);
  if (asked !== undefined && Symbol.asyncIterator in asked) await drain(asked as never);
}

/** Timers that keep this process alive. */
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

/** Answers after which the connection is as good as new. */
const KEPT: Record<string, [reply: Reply, ask?: object]> = {
  'a result': [answer()],
  'an error': [refusal({ code: -43001, message: 'gone' }, 500)],
  'an answer that is no ARC': [http(502, '<html>', { 'content-type': 'text/html' })],
  'an empty answer': [http(204)],
  'a stream': [stream(event('stream', piece('a')) + DONE), STREAM],
  'a stream that ends after its done': [(socket) => writeApart(socket, [STREAM_HEAD, chunk(DONE), LAST_CHUNK]), STREAM],
  'a stream with an error, then done': [
    (socket) => writeApart(socket, [STREAM_HEAD, chunk(event('error', 'x')), chunk(DONE), LAST_CHUNK]),
    STREAM,
  ],
  'a stream that ends without done': [stream(event('stream', piece('a'))), STREAM],
  'a stream that ends with a bare done': [stream('event: done'), STREAM],
  'a stream with an error for JSON': [stream(event('error', { code: -43001 }))],
  'a stream for JSON': [stream(DONE)],
  'JSON for a stream': [answer(), STREAM],
  'a refused redirect': [http(307, 'moved', { location: 'http://agents.invalid/' })],
};

for (const [what, [reply, ask = {}]] of Object.entries(KEPT)) {
  const closes = what === 'a refused redirect';
  t.test(`after ${what}, the connection is ${closes ? 'not ' : ''}used again`, async (t) => {
    const { peer, client } = await pair(t, reply, { connections: 1 });
    for (let i = 0; i < 3; i++) await settle(client, ask);
    t.equal(peer.requests.length, 3);
    t.equal(peer.connections, closes ? 3 : 1);
  });
}

t.test('a refused token in an envelope leaves its connection fit for the request that is sent again', async (t) => {
  const { peer, client } = await pair(
    t,
    [refusal({ code: -44004, message: 'expired' }), answer(), http(401), answer()],
    { connections: 1, token: () => 'abc' },
  );
  await settle(client, {});
  await settle(client, {});
  t.equal(peer.requests.length, 4);
  t.equal(peer.connections, 1);
});

t.test('calls one after another need no more than two connections', async (t) => {
  // undici takes a turn of the event loop before it uses a connection again, which a call made at once does not wait for.
  const { peer, client } = await pair(t, answer());
  for (let i = 0; i < 50; i++) await client.chat.start(START);
  t.ok(peer.connections <= 2, `${peer.connections} connections`);
});

t.test('a cancelled call costs its connection, and no other', async (t) => {
  const { peer, client } = await pair(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))));
  const streams = await Promise.all(Array.from({ length: 20 }, () => client.chat.start(STREAM)));
  t.equal(peer.open, 20);
  for (const each of streams) each.cancel();
  await peer.until(() => peer.open === 0);
  for (let i = 0; i < 20; i++) await turn();
  t.equal(peer.connections, 20);
  await client.chat.start(STREAM);
  t.equal(peer.connections, 21);
});

t.test('a call that times out costs its connection, and no other', async (t) => {
  const { peer, client } = await pair(t, () => {}, { timeout: 30 });
  await Promise.all(Array.from({ length: 5 }, () => failure(client.chat.start(START))));
  await peer.until(() => peer.open === 0);
  for (let i = 0; i < 20; i++) await turn();
  t.equal(peer.connections, 5);
});

t.test('a call succeeds after an agent closed an idle connection', async (t) => {
  const { peer, client } = await pair(t, (socket) =>
    socket.end(http(200, answer().toString().split('\r\n\r\n')[1] ?? '')),
  );
  for (let i = 0; i < 5; i++) {
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
    await peer.until(() => peer.open === 0);
  }
  t.equal(peer.connections, 5);
});

t.test('an agent that says Connection: close is connected to anew', async (t) => {
  const body = answer().toString().split('\r\n\r\n')[1] ?? '';
  const { peer, client } = await pair(t, http(200, body, { connection: 'close' }), { connections: 1 });
  for (let i = 0; i < 3; i++) await client.chat.start(START);
  t.equal(peer.connections, 3);
});

t.test('close closes all connections', async (t) => {
  const { peer, client } = await pair(t, answer());
  await Promise.all(Array.from({ length: 10 }, () => client.chat.start(START)));
  t.ok(peer.open > 0);
  await client.close();
  await peer.until(() => peer.open === 0);
});

t.test('[F-546] close gives up connections that are still being made', async (t) => {
  const peer = await serve(t, () => {});
  // The peer takes connections, and never answers the begin of TLS: undici itself gives up after ten seconds.
  const client = connect(t, { url: peer.url.replace('http:', 'https:') });
  const calls = Array.from({ length: 3 }, () => failure(client.chat.start(START)));
  await peer.until(() => peer.connections === 3);
  await client.close();
  await withDeadline(
    peer.until(() => peer.open === 0),
    'the end of the connections',
    5000,
  );
  for (const call of calls) t.match(await call, { code: -41003, reason: 'The client was closed' });
});

t.test('slow answers do not keep others waiting, as long as connections may be opened', async (t) => {
  const held: Socket[] = [];
  const { peer, client } = await pair(t, (socket) => void held.push(socket), { connections: 300 });
  const calls = Array.from({ length: 310 }, () => client.chat.start(START));
  await peer.until(() => held.length === 300);
  t.equal(peer.connections, 300, 'those beyond wait');
  const body = answer().toString();
  while (peer.requests.length < 310 || held.length > 0) {
    for (const socket of held.splice(0)) socket.write(body);
    await turn();
  }
  await Promise.all(calls);
  t.equal(peer.connections, 300);
});

t.test('calls that time out while they wait for a connection have none opened for them', async (t) => {
  const { peer, client } = await pair(t, () => {}, { breaker: false });
  const held = Array.from({ length: 64 }, () => failure(client.chat.start(START)));
  await peer.until(() => peer.requests.length === 64);
  const before = timers();
  await Promise.all(Array.from({ length: 300 }, () => failure(client.chat.start({ ...START, timeout: 20 }))));
  // As long as it is looked whether more connections would help, there is a timer.
  while (timers() > before) await turn();
  t.equal(peer.connections, 64);
  await client.close();
  await Promise.all(held);
});

t.test('streams do not keep other calls waiting', async (t) => {
  const { peer, client } = await pair(t, (socket, request) =>
    request.body.includes('"stream":true')
      ? socket.write(STREAM_HEAD + chunk(event('stream', piece('a'))))
      : socket.write(answer().toString()),
  );
  const streams = await Promise.all(Array.from({ length: 200 }, () => client.chat.start(STREAM)));
  t.equal(peer.open, 200);
  await Promise.all(Array.from({ length: 100 }, () => client.chat.start(START)));
  for (const each of streams) each.cancel();
  await peer.until(() => peer.requests.length === 300);
});

t.test(
  'a call that waits for a connection fails when its client is closed, and is not sent when it is cancelled',
  async (t) => {
    const { peer, client } = await pair(t, () => {}, { connections: 64 });
    const calls = Array.from({ length: 64 }, () => failure(client.chat.start(START)));
    await peer.until(() => peer.requests.length === 64);
    const waiting = failure(client.chat.start(START));
    const abort = new AbortController();
    const cancelled = client.chat.start({ ...START, signal: abort.signal });
    abort.abort(new Error('not any more'));
    await t.rejects(cancelled, { message: 'not any more' });
    await client.close();
    t.match(await waiting, { message: 'The client was closed' });
    await Promise.all(calls);
    t.equal(peer.requests.length, 64);
  },
);
