// One session's input, or one agent's answer, never makes the calls of another fail.
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { ArcClient } from '../../src/client/arc-client.js';
import type { CallListener, CallOwner } from '../../src/client/call.js';
import { silentLogger } from '../../src/logger.js';
import { InternalError } from '../../src/protocol/errors.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import {
  answer,
  chunk,
  DONE,
  envelope,
  event,
  failure,
  HELLO,
  http,
  type Peer,
  pair,
  piece,
  type Reply,
  reasonOf,
  refusal,
  START,
  STREAM_HEAD,
  stream,
} from './support.js';

const BAD_GATEWAY = http(502, '<html>', { 'content-type': 'text/html' });

/** A pause that no test outlives, so that an open circuit stays open. */
const LONG = 600_000;

const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
const JSON_TYPE = { 'content-type': 'application/arc+json' };

/** An envelope whose message says `content`, which is JSON text. */
function saying(content: string): Buffer {
  const parts = JSON.stringify(envelope({ result: { type: 'chat', chat: { chatId: 'c1', message: 'HERE' } } }));
  return http(200, parts.replace('"HERE"', content), JSON_TYPE);
}

/** Answers that are expensive for whatever would recognise them by a pattern. */
const HEAVY: Record<string, string> = {
  '2,000 numbers': JSON.stringify(new Array(2000).fill(0)),
  '20,000 strings': JSON.stringify(new Array(20_000).fill('x')),
  'a string of 4 MiB': JSON.stringify('x'.repeat(4 * 1024 * 1024)),
  'a string of 1 MiB of escapes': JSON.stringify('\\'.repeat(512 * 1024)),
  '2,000 arrays in one another': nested(2000),
};

for (const [what, content] of Object.entries(HEAVY)) {
  t.test(`[F-200] an answer of ${what} does not spoil the answers of others`, async (t) => {
    const { client } = await pair(t, [saying(content), saying(content), answer()]);
    const ask = () => client.chat.message({ targetAgent: 'support', chatId: 'c1', message: HELLO });
    for (let i = 0; i < 2; i++) {
      const { result } = await ask();
      t.same(JSON.stringify(result.chat.message), content);
    }
    for (let i = 0; i < 5; i++) t.equal((await ask()).result.chat.chatId, 'c1');
  });

  t.test(`[F-200] nor does a stream with events of ${what}`, async (t) => {
    const heavy = event('content', content).repeat(3) + DONE;
    const { client } = await pair(t, [stream(heavy), stream(event('content', piece('a')) + DONE)], {
      maxEventBytes: 16 * 1024 * 1024,
    });
    const first = await client.chat.start({ ...START, stream: true });
    const seen: string[] = [];
    for await (const { json } of first) seen.push(json);
    t.same(seen.slice(0, 3), [content, content, content]);
    for (let i = 0; i < 3; i++) {
      const events: string[] = [];
      for await (const each of await client.chat.start({ ...START, stream: true })) events.push(each.event);
      t.same(events, ['content', 'done']);
    }
  });
}

/** A listener one of whose methods throws, and what it hears. */
function throwing(method: keyof CallListener, at: string): { listener: CallListener; errors: unknown[] } {
  const errors: unknown[] = [];
  const listener: CallListener = {
    onResponse: () => {
      if (method === 'onResponse') throw new Error('onResponse throws');
    },
    onEvent: ({ event }) => {
      if (method === 'onEvent' && event === at) throw new Error('onEvent throws');
    },
    onError: (error) => {
      errors.push(error);
      if (method === 'onError') throw new Error('onError throws');
    },
  };
  return { listener, errors };
}

/** Where a listener throws: the agent's answer, the method, and the event at which it does. */
const THROWS: Record<string, [reply: Reply, method: keyof CallListener, at?: string]> = {
  'at a response': [answer(), 'onResponse'],
  'at an event': [stream(event('content', piece('a')) + DONE), 'onEvent', 'content'],
  'at the last event': [stream(event('content', piece('a')) + DONE), 'onEvent', 'done'],
  'at an error': [refusal({ code: -43001, message: 'gone' }), 'onError'],
  'at a time-out': [() => {}, 'onError'],
  'at a connection that breaks': [(socket) => socket.destroy(), 'onError'],
};

for (const [where, [reply, method, at = '']] of Object.entries(THROWS)) {
  t.test(`[F-201] a listener that throws ${where} ends its own call, and no other`, async (t) => {
    const logged: object[] = [];
    const { peer, client } = await pair(
      t,
      (socket, request) => {
        if (!request.body.includes('"spoilt"')) return socket.write(answer());
        return typeof reply === 'function' ? reply(socket, request) : socket.write(reply);
      },
      { timeout: 200, retries: 0, logger: { ...silentLogger, error: (about) => void logged.push(about) } },
    );
    const { listener, errors } = throwing(method, at);
    client.call({ method: 'chat.start', targetAgent: 'spoilt', params: { stream: true } }, listener);
    await peer.until(() => peer.requests.length > 0);
    const others = await Promise.all(Array.from({ length: 5 }, () => client.chat.start(START)));
    t.equal(others.length, 5);
    while (logged.length + errors.length === 0) await turn();
    if (method === 'onError') {
      t.equal(errors.length, 1, 'the error is reported once');
    } else if (method === 'onEvent' && at === 'content') {
      t.match(errors, [{ code: -32603, agentId: 'spoilt', cause: { message: 'onEvent throws' } }]);
      t.ok(errors[0] instanceof InternalError);
    } else {
      t.match(logged, [{ err: { message: `${method} throws` }, agentId: 'spoilt' }], 'it has ended: it is logged');
    }
    await client.chat.start(START);
  });
}

t.test('[F-201] a logger that throws changes nothing', async (t) => {
  const log = (): never => {
    throw new Error('the logger throws');
  };
  const { peer, client } = await pair(t, answer(), { logger: { debug: log, info: log, warn: log, error: log } });
  // The answer has the id of another request, which is logged.
  await client.chat.start(START);
  const { listener } = throwing('onResponse', '');
  client.call({ method: 'chat.start', targetAgent: 'support', params: {} }, listener);
  await peer.until(() => peer.requests.length === 2);
  await client.chat.start(START);
});

/** A call on behalf of a session, and its error. */
function failing(client: ArcClient, owner?: CallOwner): Promise<unknown> {
  return new Promise((resolve) => {
    const listener: CallListener = { onResponse: resolve, onEvent: () => {}, onError: resolve };
    client.call({ method: 'chat.start', targetAgent: 'support', params: {}, retries: 0 }, listener, owner);
  });
}

const stateOf = (client: ArcClient): string | undefined => client.endpoints()[0]?.state;

t.test('[F-202] the failures of one session alone never open the circuit', async (t) => {
  const { peer, client } = await pair(t, BAD_GATEWAY, { breaker: { failures: 10, pause: LONG } });
  const attacker = {};
  for (let i = 0; i < 100; i++) await failing(client, attacker);
  t.match(client.endpoints(), [{ state: 'closed', failures: 100 }]);
  t.equal(peer.requests.length, 100);
  // The other half must come from others.
  const other = {};
  for (let i = 0; i < 4; i++) await failing(client, other);
  t.equal(stateOf(client), 'closed');
  await failing(client, other);
  t.equal(stateOf(client), 'open');
});

t.test('[F-202] an endpoint that fails two sessions is not asked any more', async (t) => {
  const { client } = await pair(t, BAD_GATEWAY, { breaker: { failures: 1, pause: LONG } });
  await failing(client, {});
  t.equal(stateOf(client), 'closed');
  await failing(client, {});
  t.match(await failing(client, {}), { cause: { code: 'ERR_CIRCUIT_OPEN' } });
});

t.test('[F-202] an error status of a working agent does not count, whoever caused it', async (t) => {
  for (const status of [500, 501, 505, 520]) {
    const { client } = await pair(t, http(status, '<html>', { 'content-type': 'text/html' }), {
      breaker: { failures: 2, pause: LONG },
    });
    for (let i = 0; i < 6; i++) await failing(client, {});
    t.match(client.endpoints(), [{ state: 'closed', failures: 0 }], `HTTP ${status}`);
  }
});

t.test('[F-202] while the circuit is open, a session that has not failed is the first to be let through', async (t) => {
  const { peer, client } = await pair(
    t,
    (socket, { body }) => socket.write(body.includes('"bad"') ? BAD_GATEWAY : answer()),
    // An attacker waits for one more pause, within which the other has to ask.
    { breaker: { failures: 2, pause: 300 } },
  );
  const attackers = [{}, {}];
  const attack = (owner: CallOwner): Promise<unknown> =>
    new Promise((resolve) => {
      const listener: CallListener = { onResponse: resolve, onEvent: () => {}, onError: resolve };
      client.call({ method: 'chat.start', targetAgent: 'bad', params: {}, retries: 0 }, listener, owner);
    });
  for (const attacker of attackers) await attack(attacker);
  t.not(stateOf(client), 'closed');
  // As soon as the pause is over: an attacker asks first, and is refused; then somebody else, who is not.
  while (stateOf(client) === 'open') await turn();
  const { length } = peer.requests;
  const [refused, answered] = await Promise.all([attack(attackers[0] as CallOwner), failing(client, {})]);
  t.match(refused, { cause: { code: 'ERR_CIRCUIT_OPEN' } });
  t.type(answered, 'string');
  t.equal(peer.requests.length, length + 1);
  t.equal(stateOf(client), 'closed');
});

/** Sessions that each have so many requests at an agent that hangs. */
async function attack(t: Test, connections: number, sessions: number, each: number) {
  const { peer, client } = await pair(
    t,
    (socket, { body }) => {
      if (body.includes('"answers"')) socket.write(answer());
      else if (body.includes('"streams"')) socket.write(STREAM_HEAD + chunk(event('content', piece('a'))));
    },
    { connections, timeout: 0, breaker: false },
  );
  const attackers = Array.from({ length: sessions }, () => new ThreadManager(client));
  const sends = attackers.flatMap((threads) =>
    Array.from({ length: each }, (_, at) =>
      threads.sendToAgent({ agentId: 'hangs', contextId: String(at), message: HELLO }).catch(() => {}),
    ),
  );
  return { peer, client, attackers, sends };
}

/** Waits until no more connections are opened: every session that waits has one, or half of them are in use. */
async function grown(peer: Peer, connections: number): Promise<void> {
  await peer.until(() => peer.requests.length >= connections);
}

t.test('[F-203] sessions that hold connections cannot keep another one from an agent', async (t) => {
  const { peer, client, attackers, sends } = await attack(t, 1024, 33, 32);
  // Half of them all, and one for each session that had none by then.
  await grown(peer, 512);
  const others = Array.from({ length: 20 }, () => new ThreadManager(client));
  for (const other of others) {
    const { result } = await other.sendToAgent({ agentId: 'answers', message: HELLO });
    t.equal(result.chat.chatId, 'c1');
  }
  const hanging = peer.requests.filter(({ json }) => json.targetAgent === 'hangs').length;
  t.ok(hanging <= 512 + 33, `${hanging} requests hang`);
  await client.close();
  await Promise.all(sends);
  t.equal(attackers.length, 33);
});

t.test('[F-203] nor while they open streams, nor while they still take more connections', async (t) => {
  const { peer, client } = await attack(t, 100, 0, 0);
  const attackers = Array.from({ length: 10 }, () => new ThreadManager(client));
  const sends = attackers.flatMap((threads) =>
    Array.from({ length: 32 }, (_, at) =>
      threads.sendToAgent({ agentId: 'streams', contextId: String(at), message: HELLO }).catch(() => {}),
    ),
  );
  const early = new ThreadManager(client);
  await early.sendToAgent({ agentId: 'answers', message: HELLO });
  await grown(peer, 50);
  const late = new ThreadManager(client);
  await late.sendToAgent({ agentId: 'answers', message: HELLO });
  t.ok(peer.open <= 61, `${peer.open} connections`);
  await client.close();
  await Promise.all(sends);
});

t.test('[F-203] below half of the connections one session may have them all', async (t) => {
  const { peer, client, sends } = await attack(t, 100, 1, 60);
  await grown(peer, 50);
  t.equal(peer.requests.length, 50);
  await client.close();
  await Promise.all(sends);
});

t.test('[F-203] the application itself may have all connections', async (t) => {
  const { peer, client } = await attack(t, 100, 0, 0);
  const calls = Array.from({ length: 100 }, () => reasonOf(client.chat.start({ ...START, targetAgent: 'hangs' })));
  await grown(peer, 100);
  await client.close();
  await Promise.all(calls);
});

t.test('[F-203] sessions take turns in the wait queue', async (t) => {
  const held: (() => void)[] = [];
  const { peer, client } = await pair(t, (socket) => void held.push(() => socket.write(answer())), {
    connections: 64,
    timeout: 0,
  });
  const first = new ThreadManager(client);
  const own = Array.from({ length: 64 }, () => client.chat.start({ ...START, targetAgent: 'own' }));
  await peer.until(() => peer.requests.length === 64);
  const many = Array.from({ length: 30 }, (_, at) =>
    first.sendToAgent({ agentId: 'first', contextId: String(at), message: HELLO }),
  );
  const second = new ThreadManager(client).sendToAgent({ agentId: 'second', message: HELLO });
  for (let answered = 0; answered < 95; answered++) {
    await peer.until(() => held.length > 0);
    held.shift()?.();
    await turn();
    await turn();
  }
  await Promise.all([...own, ...many, second]);
  const order = peer.requests.slice(64).map(({ json }) => json.targetAgent);
  t.ok(order.indexOf('second') <= 1, `its turn was ${order.indexOf('second') + 1}`);
});

t.test('[F-203] a call that waits and is cancelled takes no turn', async (t) => {
  const { peer, client } = await pair(t, () => {}, { connections: 1, timeout: 0 });
  const held = failure(client.chat.start(START));
  await peer.until(() => peer.requests.length === 1);
  const controller = new AbortController();
  const waiting = Array.from({ length: 10 }, () =>
    reasonOf(client.chat.start({ ...START, targetAgent: 'gone', signal: controller.signal })),
  );
  controller.abort();
  await Promise.all(waiting);
  const last = failure(client.chat.start({ ...START, targetAgent: 'last' }));
  peer.sockets[0]?.destroy();
  await held;
  await peer.until(() => peer.requests.length > 1);
  t.same(
    peer.requests.map(({ json }) => json.targetAgent),
    ['support', 'last'],
  );
  await client.close();
  await last;
});
