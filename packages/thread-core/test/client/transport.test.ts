// Answers that do not come, or are not what they should be.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import tls from 'node:tls';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { ArcClient, type ArcClientOptions } from '../../src/client/arc-client.js';
import {
  AgentTimeoutError,
  AgentUnreachableError,
  type ArcError,
  StreamInterruptedError,
  TransportError,
} from '../../src/protocol/errors.js';
import {
  answer,
  chunk,
  connect,
  DEAD_PORT,
  DONE,
  drain,
  event,
  failure,
  heard,
  http,
  type Peer,
  pair,
  piece,
  type Reply,
  START,
  STREAM,
  STREAM_HEAD,
  serve,
} from './support.js';

const TOKEN = 'very-secret-token';

/** Whatever anyone could print of an error. */
function printed(error: Error): string {
  const all = [
    error.message,
    error.stack,
    JSON.stringify(error),
    String(error),
    inspect(error, { depth: 20, showHidden: true }),
  ];
  return error.cause instanceof Error ? all.join() + printed(error.cause) : all.join();
}

/** Fails a call, and checks what every failure of the transport has in common. */
async function fail(
  t: Test,
  reply: Reply,
  options: Partial<ArcClientOptions> = {},
  ask: object = START,
): Promise<ArcError & { peer: Peer }> {
  const { peer, client } = await pair(t, reply, { token: TOKEN, ...options });
  const error = await failure(client.chat.start({ ...START, ...ask, traceId: 'tr-1' }));
  checkTransport(t, error, `${peer.url}/arc`);
  return Object.assign(error, { peer });
}

function checkTransport(t: Test, error: ArcError, address: string): void {
  t.ok(error instanceof TransportError);
  t.match(error, { agentId: 'support', method: 'chat.start', traceId: 'tr-1', fromAgent: false, details: null });
  t.equal(error.address, address);
  t.equal(error.message, `${error.reason} (${address})`);
  t.notOk(error.reason.includes('127.0.0.1'), 'the reason names no address');
  t.notOk(printed(error).includes(TOKEN), 'the token appears nowhere');
}

t.test('a refused connection says so', async (t) => {
  const url = `http://127.0.0.1:${DEAD_PORT}`;
  const error = await failure(connect(t, { url }, { token: TOKEN }).chat.start({ ...START, traceId: 'tr-1' }));
  checkTransport(t, error, `${url}/arc`);
  t.ok(error instanceof AgentUnreachableError);
  t.equal(error.reason, 'Agent "support" is unreachable: connection refused (ECONNREFUSED)');
  t.equal(error.status, undefined);
  t.match(error.cause, { code: 'ECONNREFUSED' });
});

t.test('an unknown host says so', async (t) => {
  const url = 'http://nowhere.invalid';
  const error = await failure(connect(t, { url }).chat.start({ ...START, traceId: 'tr-1' }));
  checkTransport(t, error, `${url}/arc`);
  t.match(
    error.reason,
    /^Agent "support" is unreachable: host name (not found \(ENOTFOUND\)|could not be looked up \(EAI_AGAIN\))$/,
  );
});

t.test('a connection that is closed before the first byte says so', async (t) => {
  const error = await fail(t, (socket) => socket.end());
  t.ok(error instanceof AgentUnreachableError);
  t.equal(error.reason, 'Agent "support" is unreachable: connection closed (UND_ERR_SOCKET)');
  t.equal(error.status, undefined);
});

t.test('a connection that is reset before the first byte says so', async (t) => {
  const error = await fail(t, (socket) => socket.resetAndDestroy());
  t.equal(error.reason, 'Agent "support" is unreachable: connection reset (ECONNRESET)');
});

t.test('a connection that is reset within a body says so', async (t) => {
  const error = await fail(t, (socket) => {
    socket.write(answer().subarray(0, -10));
    setImmediate(() => setImmediate(() => socket.resetAndDestroy()));
  });
  t.ok(error instanceof AgentUnreachableError);
  t.match(error.reason, /^The answer broke off: connection (reset|closed) /);
  t.equal(error.status, 200);
});

t.test('a body that is shorter than its content-length is broken off', async (t) => {
  for (const connection of ['keep-alive', 'close']) {
    const error = await fail(t, (socket) =>
      socket.end(http(200, '{"arc":"1.0"}', { 'content-length': '100', connection })),
    );
    t.ok(error instanceof AgentUnreachableError);
    t.match(
      error.reason,
      /^The answer broke off: (connection closed|its content-length is wrong) \(UND_ERR_/,
      connection,
    );
    t.equal(error.status, 200);
  }
});

t.test('a body that breaks off between two chunks is no answer', async (t) => {
  for (const connection of ['keep-alive', 'close']) {
    const head = `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: ${connection}\r\ntransfer-encoding: chunked\r\n\r\n`;
    // What has come is whole JSON, but the agent has not said that it is all.
    const json = answer().toString().split('\r\n\r\n')[1] ?? '';
    const error = await fail(t, (socket) => socket.end(head + chunk(json)));
    t.match(error.reason, /^The answer broke off: /, connection);
    t.equal(error.status, 200);
  }
});

t.test('a stream that breaks off is interrupted', async (t) => {
  for (const end of ['end', 'resetAndDestroy'] as const) {
    for (const connection of ['keep-alive', 'close']) {
      const { client, peer } = await pair(t, (socket) => {
        socket.write(
          STREAM_HEAD.replace('\r\n\r\n', `\r\nconnection: ${connection}\r\n\r\n`) + chunk(event('stream', piece('a'))),
        );
        setImmediate(() => setImmediate(() => socket[end]()));
      });
      const { events, error } = await drain(await client.chat.start({ ...STREAM, traceId: 'tr-1' }));
      t.equal(events.length, 1);
      t.ok(error instanceof StreamInterruptedError);
      checkTransport(t, error as ArcError, `${peer.url}/arc`);
      t.match(error, { code: -43104, status: 200, reason: /^The stream (broke off|ended without done)/ });
    }
  }
});

t.test('a stream that breaks off within a chunk is interrupted', async (t) => {
  const { client } = await pair(t, (socket) =>
    socket.end(STREAM_HEAD + chunk(event('stream', piece('a')) + event('stream', piece('b'))).subarray(0, -30)),
  );
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.equal(events.length, 1);
  t.match(error, { code: -43104, reason: /^The stream broke off: / });
});

t.test('what is no ARC envelope says its status and what it is', async (t) => {
  const html = { 'content-type': 'text/html' };
  const cases: [Buffer, number, string][] = [
    [http(502, '<html>Bad gateway</html>', html), 502, 'text/html'],
    [http(500), 500, 'an empty answer'],
    [http(204), 204, 'an empty answer'],
    [http(200), 200, 'an empty answer'],
    [http(200, 'hello', { 'content-type': 'text/plain' }), 200, 'text/plain'],
    [http(200, 'hello'), 200, 'no content type'],
    [http(200, '{"ok":true}', { 'content-type': 'application/json' }), 200, 'application/json'],
    [http(200, '{"arc":1,"result":{}}', { 'content-type': 'application/json' }), 200, 'application/json'],
    [http(200, '[]', { 'content-type': 'application/json' }), 200, 'application/json'],
    [http(200, 'null', { 'content-type': 'application/json' }), 200, 'application/json'],
    [http(200, '{"arc":"1.0"', { 'content-type': 'application/json' }), 200, 'application/json'],
    [http(401, '<html>', html), 401, 'text/html'],
    [http(503), 503, 'an empty answer'],
  ];
  for (const [bytes, status, what] of cases) {
    const error = await fail(t, bytes);
    t.ok(error instanceof AgentUnreachableError);
    t.equal(error.code, -41003);
    t.equal(error.status, status);
    t.equal(error.reason, `Agent "support" gave no ARC answer: HTTP ${status}, ${what}`);
  }
});

t.test('an answer that is not HTTP says so', async (t) => {
  const error = await fail(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
  t.ok(error instanceof AgentUnreachableError);
  t.match(error.reason, /^Agent "support" is unreachable: its answer is not HTTP$/);
});

t.test('headers that never end are given up', async (t) => {
  const error = await fail(t, (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}`));
  t.equal(error.reason, 'Agent "support" is unreachable: its headers are too large (UND_ERR_HEADERS_OVERFLOW)');
});

t.test('interim answers are passed over', async (t) => {
  const { client } = await pair(
    t,
    Buffer.concat([
      Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n'),
      answer(),
    ]),
  );
  t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
});

t.test('https to a port that speaks plain HTTP says that TLS failed', async (t) => {
  const peer = await serve(t, answer());
  peer.server.on('connection', (socket) => socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
  const url = peer.url.replace('http:', 'https:');
  const error = await failure(connect(t, { url }, { token: TOKEN }).chat.start({ ...START, traceId: 'tr-1' }));
  checkTransport(t, error, `${url}/arc`);
  t.match(error.reason, /^Agent "support" is unreachable: TLS failed \(E/);
});

t.test('the error of a self-signed certificate says that TLS failed', async (t) => {
  // Made for this test alone: openssl req -x509 -newkey ec -nodes -subj /CN=localhost -days 36500 …
  const read = (file: string): Buffer => readFileSync(new URL(`../fixtures/tls/${file}`, import.meta.url));
  const options = { key: read('key.pem'), cert: read('cert.pem') };
  const server = tls.createServer(options, (socket) => socket.on('error', () => {}));
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const url = `https://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  const error = await failure(connect(t, { url }, { token: TOKEN }).chat.start({ ...START, traceId: 'tr-1' }));
  checkTransport(t, error, `${url}/arc`);
  t.equal(error.reason, 'Agent "support" is unreachable: TLS failed (DEPTH_ZERO_SELF_SIGNED_CERT)');
});

t.test('an agent that does not answer times out', async (t) => {
  const error = await fail(t, () => {}, { timeout: 30 });
  t.ok(error instanceof AgentTimeoutError);
  t.match(error, { code: -41006, status: undefined, reason: 'Agent "support" did not answer within 30 ms' });
  await error.peer.until(() => error.peer.open === 0);
});

t.test('an agent that stalls within its answer times out', async (t) => {
  for (const bytes of [
    'HTTP/1.1 200 OK\r\n',
    answer().subarray(0, -1),
    http(200, '{"arc":', { 'content-length': '50' }),
  ]) {
    const error = await fail(t, bytes, { timeout: 60 });
    t.ok(error instanceof AgentTimeoutError);
    t.equal(error.reason, 'Agent "support" did not answer within 60 ms');
    await error.peer.until(() => error.peer.open === 0);
  }
});

t.test('a stream that does not begin times out', async (t) => {
  const error = await fail(t, () => {}, { timeout: 30, streamIdleTimeout: 1 }, STREAM);
  t.ok(error instanceof AgentTimeoutError);
});

t.test('a stream that stalls is interrupted, and its connection closed', async (t) => {
  const { peer, client } = await pair(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))), {
    streamIdleTimeout: 40,
  });
  const { events, error } = await drain(await client.chat.start({ ...STREAM, traceId: 'tr-1' }));
  t.equal(events.length, 1);
  t.ok(error instanceof StreamInterruptedError);
  checkTransport(t, error as ArcError, `${peer.url}/arc`);
  t.equal((error as ArcError).reason, 'The stream stalled: nothing came for 40 ms');
  await peer.until(() => peer.open === 0);
  const own = await drain(await client.chat.start({ ...STREAM, streamIdleTimeout: 20 }));
  t.match(own.error, { reason: 'The stream stalled: nothing came for 20 ms' }, 'a call may have one of its own');
});

t.test('a stream may take longer than the time-out if its chunks are within the idle time-out', async (t) => {
  // Comments count as life, too: 20 x 20 ms is longer than either.
  const { client } = await pair(
    t,
    (socket) => {
      let left = 20;
      socket.write(STREAM_HEAD + chunk(': hello\n\n'));
      const timer = setInterval(() => {
        socket.write(chunk(left === 10 ? event('stream', piece('a')) : ': ping\n\n'));
        if (--left > 0) return;
        clearInterval(timer);
        socket.write(chunk('event: done\ndata:\n\n'));
      }, 20);
    },
    { timeout: 300, streamIdleTimeout: 300 },
  );
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.equal(error, undefined);
  t.equal(events.length, 2);
});

/** Writes a piece of a stream again and again, until its reader is gone. */
const endless: Reply = (socket) => {
  socket.write(STREAM_HEAD);
  const timer = setInterval(() => socket.write(chunk(event('stream', piece('a')))), 5);
  socket.on('close', () => clearInterval(timer));
};

t.test('a stream that takes longer than streamTimeout is interrupted, and its connection closed', async (t) => {
  const { peer, client } = await pair(t, endless, { streamTimeout: 60 });
  const { events, error } = await drain(await client.chat.start({ ...STREAM, traceId: 'tr-1' }));
  t.ok(events.length > 0);
  t.ok(error instanceof StreamInterruptedError);
  checkTransport(t, error as ArcError, `${peer.url}/arc`);
  t.match(error, { code: -43104, status: 200 });
  t.equal((error as ArcError).reason, 'The stream took too long: it was not complete after 60 ms in all');
  await peer.until(() => peer.open === 0);
});

t.test('streamTimeout of a call replaces that of the client', async (t) => {
  const { peer, client } = await pair(t, endless, { streamTimeout: 60_000 });
  t.match(await heard(client, { streamTimeout: 30 }).ended, { code: -43104, reason: /after 30 ms in all$/ });
  const { error } = await drain(await client.chat.start({ ...STREAM, streamTimeout: 40 }));
  t.match(error, { code: -43104, reason: /after 40 ms in all$/ });
  t.notOk(JSON.stringify(peer.requests[1]?.json).includes('streamTimeout'), 'it is not for the agent');
  await peer.until(() => peer.open === 0);
});

t.test('the total time of a stream begins with its first byte, and ends with its last event', async (t) => {
  // Whatever comes before is under the other time-out, and so is nothing that comes after.
  const { client, peer } = await pair(
    t,
    (socket) => {
      setTimeout(() => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')) + DONE)), 100);
    },
    { streamTimeout: 50, timeout: 10_000 },
  );
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.equal(error, undefined);
  t.equal(events.length, 2);
  // The agent does not end its answer. Another time-out closes the connection, without calling the listener.
  await peer.until(() => peer.open === 0);
});

t.test('the total time of a stream begins anew with that of a renewed token', async (t) => {
  let n = 0;
  const { client } = await pair(
    t,
    [
      STREAM_HEAD + chunk(event('error', { code: -44004 })),
      (socket) => setTimeout(() => socket.write(STREAM_HEAD + chunk(DONE)), 100),
    ],
    { token: () => `t${++n}`, streamTimeout: 50, timeout: 10_000 },
  );
  t.equal((await drain(await client.chat.start(STREAM))).error, undefined);
});

t.test('the time of a paused stream counts for streamTimeout', async (t) => {
  const pieces = STREAM_HEAD + chunk(event('stream', piece('a')).repeat(100));
  const { peer, client } = await pair(t, pieces, { streamTimeout: 50 });
  // It is not read, so it is paused as soon as that has arrived.
  const opened = await client.chat.start(STREAM);
  await peer.until(() => peer.open === 0);
  t.match((await drain(opened)).error, { code: -43104, reason: /in all$/ });
});

t.test('a time-out of 0, of a month or of forever is none that fires', async (t) => {
  const warnings: Error[] = [];
  const listen = (warning: Error): unknown => warnings.push(warning);
  process.on('warning', listen);
  t.teardown(() => process.off('warning', listen));
  for (const timeout of [0, 31 * 24 * 3600 * 1000, Number.POSITIVE_INFINITY]) {
    const { client } = await pair(t, (socket) => void setTimeout(() => socket.write(answer()), 20), {
      timeout,
      streamIdleTimeout: timeout,
      streamTimeout: timeout,
    });
    t.equal((await client.chat.start(START)).result.chat.chatId, 'c1', String(timeout));
    t.equal((await client.chat.start({ ...START, timeout })).result.chat.chatId, 'c1', String(timeout));
  }
  await turn();
  t.same(warnings, []);
});

t.test('closing a client ends what runs, whatever it waits for', async (t) => {
  const peer = await serve(t, () => {});
  const streaming = await serve(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))));
  const endpoint = (agentId: string): string => (agentId === 'streaming' ? streaming.url : peer.url);
  const client = new ArcClient({ endpoint, connections: 1 });
  const opened = await client.chat.start({ ...STREAM, targetAgent: 'streaming' });
  const read = drain(opened);
  const waiting = failure(client.chat.start(START));
  const queued = failure(client.chat.start(START));
  await peer.until(() => peer.requests.length === 1);
  await client.close();
  for (const error of [await waiting, await queued]) {
    t.ok(error instanceof AgentUnreachableError);
    t.match(error, { reason: 'The client was closed', agentId: 'support', method: 'chat.start', fromAgent: false });
  }
  const { events, error } = await read;
  t.equal(events.length, 1);
  t.match(error, { code: -41003, reason: 'The client was closed' });
  await peer.until(() => peer.open === 0);
  await streaming.until(() => streaming.open === 0);
});

t.test('a call after close is refused', async (t) => {
  const { peer, client } = await pair(t, answer());
  await client.close();
  await client.close();
  const error = await failure(client.chat.start(START));
  t.ok(error instanceof AgentUnreachableError);
  t.match(error, { reason: 'The client was closed', agentId: 'support', method: 'chat.start' });
  t.equal(peer.connections, 0);
});

t.test('closing a client that waits for a token ends its call', async (t) => {
  let give = (_token: string): void => {};
  const token = () => new Promise<string>((resolve) => (give = resolve));
  const { peer, client } = await pair(t, answer(), { token });
  const call = failure(client.chat.start(START));
  await turn();
  await client.close();
  t.match(await call, { reason: 'The client was closed' });
  give('late');
  await turn();
  t.equal(peer.connections, 0);
});

t.test('calls that are made while a client closes fail, too', async (t) => {
  const { client } = await pair(t, () => {});
  const again = client.chat.start(START).catch(() => client.chat.start(START).catch(() => client.chat.start(START)));
  await client.close();
  t.match(await failure(again), { reason: 'The client was closed' });
});

t.test('the token is shown nowhere', async (t) => {
  const { client } = await pair(t, (socket) => socket.write(STREAM_HEAD + chunk(event('stream', piece('a')))), {
    token: TOKEN,
  });
  const opened = await client.chat.start(STREAM);
  for (const shown of [client, opened, { client }]) {
    t.notOk(inspect(shown, { depth: 20, showHidden: true }).includes(TOKEN));
    t.notOk(JSON.stringify(shown).includes(TOKEN));
  }
  opened.cancel();
});

t.test('a token that cannot be in a header is refused, and not shown', async (t) => {
  t.throws(() => new ArcClient({ endpoint: 'http://127.0.0.1/', token: `${TOKEN}\n` }), {
    name: 'TypeError',
    message: /^token: /,
  });
  const { client, peer } = await pair(t, answer(), { token: () => `${TOKEN}\n` });
  const error = await failure(client.chat.start(START));
  t.equal(error.code, -44001);
  t.notOk(printed(error).includes(TOKEN));
  t.equal(peer.connections, 0);
});
