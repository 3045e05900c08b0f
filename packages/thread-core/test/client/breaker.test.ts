// The circuit breaker: an endpoint that fails repeatedly gets no requests for a while.
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ArcClient } from '../../src/client/arc-client.js';
import { wasNeverSent } from '../../src/client/transport-error.js';
import { AgentUnreachableError, type ArcError } from '../../src/protocol/errors.js';
import { faults, startTestAgent } from '../../src/testing/index.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import {
  answer,
  chunk,
  connect,
  DEAD_PORT,
  DONE,
  drain,
  event,
  failure,
  HELLO,
  heard,
  http,
  type Peer,
  pair,
  piece,
  type Reply,
  refusal,
  START,
  STREAM,
  STREAM_HEAD,
  serve,
  stream,
} from './support.js';

const HTML = { 'content-type': 'text/html' };
const BAD_GATEWAY = http(502, '<html>', HTML);
const OPEN = /^Agent "support" is not asked again for \d+ ms: its endpoint failed (\d+) times in a row$/;

/** A pause that no test outlives, so that what is open stays so. */
const LONG = 600_000;

async function failTimes(client: ArcClient, times: number, ask: object = START): Promise<void> {
  for (let i = 0; i < times; i++) {
    const asked = await client.chat.start({ ...START, ...ask }).catch(() => undefined);
    if (asked !== undefined && Symbol.asyncIterator in asked) await drain(asked as never);
  }
}

const stateOf = (client: ArcClient): string | undefined => client.endpoints()[0]?.state;

t.test('after ten failures in a row calls fail at once, and nothing is sent', async (t) => {
  const { peer, client } = await pair(t, BAD_GATEWAY);
  await failTimes(client, 9);
  t.same(client.endpoints(), [{ address: `${peer.url}/arc`, state: 'closed', failures: 9 }]);
  t.match(await failure(client.chat.start(START)), { status: 502 });
  t.match(client.endpoints(), [{ failures: 10 }]);
  // Every answer but one for each pause is this side's own.
  const errors: ArcError[] = [];
  while (errors.length === 0) {
    const error = await failure(client.chat.start({ ...START, traceId: 'tr' }));
    if (OPEN.test(error.reason)) errors.push(error);
  }
  const [error] = errors;
  t.ok(error instanceof AgentUnreachableError);
  t.match(error, {
    code: -41003,
    fromAgent: false,
    status: undefined,
    agentId: 'support',
    method: 'chat.start',
    traceId: 'tr',
    address: `${peer.url}/arc`,
    cause: { code: 'ERR_CIRCUIT_OPEN' },
  });
  t.ok(wasNeverSent(error));
});

t.test('a call that is not sent says so', async (t) => {
  const { peer, client } = await pair(t, BAD_GATEWAY, { breaker: { failures: 1, pause: LONG } });
  await failTimes(client, 1);
  const { call, ended } = heard(client);
  t.match(await ended, { reason: OPEN });
  t.equal(call.wasSent, false);
  t.equal(peer.requests.length, 1);
});

/** What counts as a failure of the endpoint. */
const FAILURES: Record<string, [reply: Reply, options?: object]> = {
  'a reset': [(socket) => socket.resetAndDestroy()],
  'a close': [(socket) => socket.end()],
  'a body that breaks off': [(socket) => socket.end(http(200, 'x', { 'content-length': '100' }))],
  'an answer that is not HTTP': ['SSH-2.0-OpenSSH\r\n'],
  'a time-out': [() => {}, { timeout: 20 }],
  'a body that stalls': [answer().subarray(0, -1), { timeout: 40 }],
  'a page with 502': [BAD_GATEWAY],
  'an empty 504': [http(504)],
  'a 503 that is not waited for': [http(503, '', { 'retry-after': '3600' })],
};

for (const [what, [reply, options]] of Object.entries(FAILURES)) {
  t.test(`${what} counts as a failure`, async (t) => {
    const { peer, client } = await pair(t, reply, { breaker: { failures: 3, pause: LONG }, ...options });
    // On a busy machine a time-out may come before the connection, and then does not count.
    while (stateOf(client) !== 'open') await failTimes(client, 1);
    t.match(client.endpoints(), [{ failures: 3 }]);
    const { length } = peer.requests;
    t.match(await failure(client.chat.start(START)), { reason: OPEN });
    t.match(await failure(client.chat.start(STREAM)), { reason: OPEN });
    t.equal(peer.requests.length, length);
  });
}

t.test('so do a refused connection, a name that there is not, and TLS that fails', async (t) => {
  const plain = await serve(t, answer());
  plain.server.on('connection', (socket) => socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')));
  const urls = [`http://127.0.0.1:${DEAD_PORT}`, 'http://nowhere.invalid', plain.url.replace('http:', 'https:')];
  for (const url of urls) {
    const client = connect(t, { url }, { breaker: { failures: 2, pause: LONG }, retries: 0 });
    await failTimes(client, 2);
    t.match(await failure(client.chat.start(START)), { reason: OPEN }, url);
  }
});

/** What says that the endpoint is well, whatever the agent says, or nothing about it. */
const OTHERS: Record<string, { reply: Reply; options?: object; ask?: object; failures?: number }> = {
  'an error of an agent': { reply: refusal({ code: -43001, message: 'gone' }, 500) },
  'an internal error of an agent': { reply: refusal({ code: -32603, message: 'oops' }, 500) },
  'an answer that is too large': { reply: http(200, 'x'.repeat(100)), options: { maxResponseBytes: 10 } },
  'a redirect to another origin': { reply: http(307, '', { location: 'http://agents.invalid/' }) },
  'an empty 500': { reply: http(500) },
  'a page with 404': { reply: http(404, '<html>', HTML) },
  'a stream that stalls': {
    reply: STREAM_HEAD + chunk(event('stream', piece('a'))),
    options: { streamIdleTimeout: 20 },
    ask: STREAM,
  },
  'a stream that breaks off': {
    reply: (socket) => socket.end(STREAM_HEAD + chunk(event('stream', piece('a')))),
    ask: STREAM,
  },
  'an error event': { reply: stream(event('error', { code: -32603, message: 'oops' })), ask: STREAM },
  'a stream that takes too long': {
    reply: STREAM_HEAD + chunk(event('stream', piece('a'))),
    options: { streamTimeout: 20 },
    ask: STREAM,
  },
};

for (const [what, { reply, options, ask = START }] of Object.entries(OTHERS)) {
  t.test(`${what} does not count as a failure`, async (t) => {
    const { peer, client } = await pair(t, reply, { breaker: { failures: 2, pause: LONG }, ...options });
    await failTimes(client, 4, ask);
    t.equal(peer.requests.length, 4);
    t.match(client.endpoints(), [{ state: 'closed', failures: 0 }]);
  });
}

t.test('a call that is cancelled, or waits for a connection, does not count as a failure', async (t) => {
  const { peer, client } = await pair(t, () => {}, { connections: 1, breaker: { failures: 2, pause: LONG } });
  const controller = new AbortController();
  const first = client.chat.start({ ...START, signal: controller.signal }).catch(() => {});
  await peer.until(() => peer.requests.length === 1);
  for (let i = 0; i < 5; i++) t.match(await failure(client.chat.start({ ...START, timeout: 10 })), { code: -41006 });
  controller.abort();
  await first;
  await peer.until(() => peer.open === 0);
  t.match(client.endpoints(), [{ state: 'closed', failures: 0 }]);
});

t.test('an ARC answer between them makes failures begin anew', async (t) => {
  for (const well of [answer(), refusal({ code: -43001, message: 'gone' }, 404), stream(DONE)]) {
    const { peer, client } = await pair(t, [BAD_GATEWAY, BAD_GATEWAY, well, BAD_GATEWAY], {
      breaker: { failures: 3, pause: LONG },
    });
    await failTimes(client, 5);
    t.match(client.endpoints(), [{ state: 'closed', failures: 2 }]);
    await failTimes(client, 1);
    t.match(client.endpoints(), [{ state: 'open', failures: 3 }]);
    await failTimes(client, 5);
    t.equal(peer.requests.length, 6);
  }
});

t.test('there are no retries while the circuit is open', async (t) => {
  const { peer, client } = await pair(t, http(503, '', { 'retry-after': '0' }), {
    retries: 10,
    breaker: { failures: 3, pause: LONG },
  });
  t.match(await failure(client.chat.start(START)), { status: 503 });
  t.equal(peer.requests.length, 3);
});

/** Opens the breaker of a client whose agent fails, and waits until its pause is over. */
async function halfOpen(t: Test, reply: Reply): Promise<{ peer: Peer; client: ArcClient }> {
  const { peer, client } = await pair(t, [BAD_GATEWAY, reply], { breaker: { failures: 1, pause: 50 } });
  await failTimes(client, 1);
  while (stateOf(client) === 'open') await turn();
  t.equal(stateOf(client), 'half-open');
  t.equal(peer.requests.length, 1);
  return { peer, client };
}

t.test('when the pause is over one call is let through, and its answer closes the circuit', async (t) => {
  const replies: Reply[] = [answer(), refusal({ code: -43001, message: 'gone' }), stream(DONE)];
  for (const reply of replies) {
    let go = (): void => {};
    const { peer, client } = await halfOpen(t, (socket) => (go = () => socket.write(reply as Buffer)));
    const probe = client.chat.start(START).catch(() => {});
    await peer.until(() => peer.requests.length === 2);
    go();
    await probe;
    t.match(client.endpoints(), [{ state: 'closed', failures: 0 }]);
    const last = client.chat.start(START).catch(() => {});
    await peer.until(() => peer.requests.length === 3);
    go();
    await last;
  }
});

t.test('a probe that fails keeps the circuit open', async (t) => {
  const { peer, client } = await halfOpen(t, BAD_GATEWAY);
  t.match(await failure(client.chat.start(START)), { status: 502 });
  t.match(client.endpoints(), [{ failures: 2 }]);
  t.not(stateOf(client), 'closed');
  t.equal(peer.requests.length, 2);
});

t.test('a probe that is redirected, or needs a new token, continues', async (t) => {
  const { peer, client } = await pair(t, [BAD_GATEWAY, http(307, '', { location: '/arc/' }), http(401), answer()], {
    breaker: { failures: 1, pause: 1 },
    token: () => 'abc',
  });
  await failTimes(client, 1);
  while (stateOf(client) === 'open') await turn();
  t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
  t.equal(peer.requests.length, 4);
  t.equal(stateOf(client), 'closed');
});

t.test('a probe that never ends, or is cancelled, does not keep others out', async (t) => {
  const { peer, client } = await pair(t, [BAD_GATEWAY, () => {}, () => {}, answer()], {
    breaker: { failures: 1, pause: 5 },
  });
  await failTimes(client, 1);
  const controller = new AbortController();
  for (const signal of [controller.signal, undefined]) {
    while (stateOf(client) === 'open') await turn();
    const { length } = peer.requests;
    client.chat.start({ ...START, signal }).catch(() => {});
    await peer.until(() => peer.requests.length > length);
    controller.abort();
  }
  while (stateOf(client) === 'open') await turn();
  await client.chat.start(START);
  t.equal(stateOf(client), 'closed');
});

t.test('each endpoint has a circuit of its own', async (t) => {
  const { peer } = await pair(t, (socket, { path }) => socket.write(path.startsWith('/bad') ? BAD_GATEWAY : answer()));
  const client = connect(t, peer, {
    endpoint: (agentId) => `${peer.url}/${agentId}`,
    breaker: { failures: 2, pause: LONG },
  });
  const ask = (targetAgent: string) => client.chat.start({ ...START, targetAgent });
  // The query is no part of an endpoint’s address: it may have keys in it, and it may differ each time.
  for (const agentId of ['bad?a=1', 'bad?a=2']) await failure(ask(agentId));
  t.match(await failure(ask('bad')), { cause: { code: 'ERR_CIRCUIT_OPEN' } });
  t.match(await failure(ask('bad?a=3')), { cause: { code: 'ERR_CIRCUIT_OPEN' } });
  await ask('good');
  t.same(client.endpoints(), [
    { address: `${peer.url}/bad`, state: 'open', failures: 2 },
    { address: `${peer.url}/good`, state: 'closed', failures: 0 },
  ]);
});

t.test('of the many endpoints that a function produces, only those that fail are remembered', async (t) => {
  const { peer } = await pair(t, BAD_GATEWAY);
  let n = 0;
  const client = connect(t, peer, {
    endpoint: (agentId) => `${peer.url}/${agentId === 'bad' ? 'bad' : ++n}`,
    breaker: { failures: 1, pause: LONG },
  });
  await failure(client.chat.start({ ...START, targetAgent: 'bad' }));
  for (let i = 0; i < 3000; i++) {
    const controller = new AbortController();
    const call = client.chat.start({ ...START, signal: controller.signal });
    controller.abort();
    await call.catch(() => {});
  }
  t.ok(client.endpoints().length <= 1500);
  t.match(client.endpoints()[0], { address: `${peer.url}/bad`, state: 'open' });
  t.match(await failure(client.chat.start({ ...START, targetAgent: 'bad' })), { cause: { code: 'ERR_CIRCUIT_OPEN' } });
});

t.test('without a breaker an endpoint is always asked', async (t) => {
  const { peer, client } = await pair(t, BAD_GATEWAY, { breaker: false });
  await failTimes(client, 30);
  t.equal(peer.requests.length, 30);
  t.match(client.endpoints(), [{ state: 'closed', failures: 30 }]);
});

t.test('a thread whose start is not sent is no thread, and gets no chat.end', async (t) => {
  const { peer, client } = await pair(t, BAD_GATEWAY, { breaker: { failures: 1, pause: LONG } });
  await failTimes(client, 1);
  const threads = new ThreadManager(client);
  const error = await failure(threads.sendToAgent({ agentId: 'support', message: HELLO }));
  t.match(error, { cause: { code: 'ERR_CIRCUIT_OPEN' } });
  t.equal(threads.hasThread('support'), false);
  t.same(await threads.endAllChats(), []);
  t.equal(peer.requests.length, 1);
});

t.test('chats are ended although the circuit was open when that began', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const client = connect(t, { url: '' }, { endpoint: agent.endpoint });
  const threads = new ThreadManager(client);
  const ask = (agentId: string) => threads.sendToAgent({ agentId, message: HELLO });
  await Promise.all(['a', 'b', 'c'].map(ask));
  agent.script('chat.message', { ...faults.html(502), times: Number.POSITIVE_INFINITY });
  // One session alone does not open it.
  const others = new ThreadManager(client);
  await others.sendToAgent({ agentId: 'd', message: HELLO });
  while (stateOf(client) === 'closed') {
    await failure(ask('a'));
    await failure(others.sendToAgent({ agentId: 'd', message: HELLO }));
  }
  const outcomes = await threads.endAllChats();
  t.match(outcomes, [{ ok: true }, { ok: true }, { ok: true }]);
  t.match(await others.endAllChats(), [{ ok: true }]);
  t.match(agent.counters, { started: 4, ended: 4, open: 0 });
  t.equal(stateOf(client), 'closed');
});
