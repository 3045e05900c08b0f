import { randomUUID } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import t, { type Test } from 'tap';
import {
  createRelay,
  type JsonValue,
  type MemoryStore,
  memoryStore,
  type RelayOptions,
  type SessionStore,
  StoreError,
} from '../../../src/index.js';
import { deferred, to, until, type World, world } from '../helpers.js';

const LONG = 60_000;

/** A store that counts its calls, and whose calls of one kind can be delayed or made to fail. */
function watched(store: MemoryStore = memoryStore()) {
  const calls: string[] = [];
  const before: Partial<Record<keyof SessionStore, () => Promise<void>>> = {};
  const proxy = new Proxy(store, {
    get(target, name: keyof SessionStore) {
      const method = target[name] as unknown;
      if (typeof method !== 'function') return method;
      return async (...args: unknown[]) => {
        calls.push(name);
        await before[name]?.();
        return method.apply(target, args);
      };
    },
  });
  return { store: proxy as SessionStore, memory: store, calls, before };
}

function stateOf({ relay }: Pick<World, 'relay'>): string | undefined {
  return relay.stats().cluster?.state;
}

/** A node that registers a session and dies: its lease is over at once. */
async function deadSession(store: SessionStore, all: World, identity?: string): Promise<string> {
  const chatId = randomUUID();
  await all.relay.config.client.chat.start({
    targetAgent: 'support',
    initialMessage: { role: 'user', parts: [{ type: 'text', content: 'hello' }] },
    chatId,
  });
  const node = { name: randomUUID(), incarnation: randomUUID(), lease: LONG };
  await store.join(node);
  const threads = { [chatId]: { agentId: 'support', chatId } };
  await store.open(node, { sid: randomUUID(), grace: 0, threads, ...(identity === undefined ? {} : { identity }) });
  await store.leave(node);
  return chatId;
}

/** A second relay of the cluster, for the same agent. */
function otherRelay(t: Test, all: World, options: Partial<RelayOptions>) {
  const relay = createRelay({ endpoint: all.agent.endpoint, logger: all.log, ...options });
  t.teardown(() => relay.close({ timeout: 0 }));
  return relay;
}

t.test('a thread is in the store before its chat.start is sent', async (t) => {
  const { store, before } = watched();
  const gate = deferred();
  const asked = deferred();
  before.open = async () => {
    asked.resolve();
    await gate.promise;
  };
  const all = await world(t, { cluster: { store } });
  const client = await all.connect();
  client.send(to('support', 'hello', { id: 1 }));
  await asked.promise;
  t.equal(all.agent.counters.requests, 0);
  gate.resolve();
  t.match(await client.next(), { type: 'response', id: 1 });
  t.equal(all.relay.stats().cluster?.sessions, 1);
});

t.test('if a thread cannot be stored, no chat.start is sent and the client gets −41002 [F-167]', async (t) => {
  const { store, before } = watched();
  const all = await world(t, { cluster: { store } });
  await until(() => stateOf(all) === 'ok', 'the node to join');
  before.open = async () => {
    throw new Error('the store is broken');
  };
  const client = await all.connect();
  t.match(await client.ask(to('support', 'hello', { id: 1 })), {
    type: 'error',
    id: 1,
    data: { code: -41_002, message: 'Temporarily unavailable: try again later' },
  });
  t.equal(all.agent.counters.requests, 0);
  t.equal(stateOf(all), 'degraded');
  delete before.open;
  t.match(await client.ask(to('support', 'hello', { id: 2 })), { type: 'response', id: 2 });
});

t.test('messages on open threads ask nothing of the store', async (t) => {
  const { store, calls } = watched();
  const all = await world(t, { cluster: { store } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  const renewals = (): number => calls.filter((name) => name === 'renew' || name === 'reap').length;
  const others = calls.length - renewals();
  for (let count = 0; count < 1000; count += 1) await client.ask(to('support', `message ${count}`));
  t.equal(calls.length - renewals(), others);
});

t.test('a session whose chats are ended leaves nothing in the store', async (t) => {
  const { store, memory } = watched();
  const all = await world(t, { cluster: { store, node: 'a' } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  await client.ask(to('hr', 'hello'));
  await client.ask({ type: 'end', agent_id: 'hr' });
  client.socket.close();
  await until(() => all.relay.stats().cluster?.sessions === 0, 'the session to be removed');
  await all.relay.close();
  t.same(await memory.nodes(), []);
  const node = { name: 'b', incarnation: randomUUID(), lease: LONG };
  await memory.join(node);
  t.same(await memory.reap(node, { limit: 10, takeoverAfter: LONG }), []);
});

t.test('the chats of a dead node are ended by another one', async (t) => {
  const store = memoryStore();
  const all = await world(t, { cluster: { store, lease: 100 } });
  await deadSession(store, all);
  await all.agent.waitFor('idle');
  await until(() => all.relay.stats().cluster?.reaped === 1, 'the session to be removed');
  t.equal(all.agent.counters.ended, 1);
});

t.test('the reaper asks sessionToken with the identity that was saved', async (t) => {
  const store = memoryStore();
  const asked: unknown[] = [];
  const all = await world(t, {
    cluster: { store, lease: 100 },
    identity: { save: (name) => `saved ${name}`, load: (saved) => ({ loaded: saved }) },
    sessionToken: (session) => {
      asked.push(session.identity);
      t.type(session.id, 'string');
      t.equal(session.request, undefined);
      return 'the-token';
    },
  });
  await deadSession(store, all, 'saved ann');
  await all.agent.waitFor('idle');
  t.same(asked, [{ loaded: 'saved ann' }]);
  const end = all.agent.requests.find(({ method }) => method === 'chat.end');
  t.equal(end?.headers.authorization, 'Bearer the-token');
});

t.test('an identity.load that never settles keeps no other session from being reaped [F-491]', async (t) => {
  const store = memoryStore();
  const all = await world(t, {
    cluster: { store, lease: 100 },
    cleanupTimeout: 100,
    identity: { save: String, load: (saved) => (saved === 'stuck' ? new Promise(() => {}) : saved) },
    sessionToken: () => 'the-token',
    leaks: true,
  });
  const stuck = await deadSession(store, all, 'stuck');
  t.match(await all.log.line('a session of a dead node could not be removed'), { level: 'warn' });
  const chatId = await deadSession(store, all, 'fine');
  await until(() => all.relay.stats().cluster?.reaped === 1, 'the other session to be removed');
  const ended = all.agent.requests.filter(({ method }) => method === 'chat.end').map((request) => request.chatId);
  t.strictSame(ended, [chatId]);
  t.not(stuck, chatId);
});

t.test(
  'a session whose identity cannot be loaded again and again is given up, and its chats are logged [S-139]',
  async (t) => {
    const { store, memory, calls } = watched();
    let loads = 0;
    const all = await world(t, {
      cluster: { store, lease: 100 },
      cleanupTimeout: 20,
      identity: {
        save: String,
        load: () => {
          loads += 1;
          throw new Error('there is no such user');
        },
      },
      sessionToken: () => 'the-token',
      leaks: true,
    });
    const chatId = await deadSession(memory, all, 'gone');
    t.match(await all.log.line('orphaned chat of a dead node'), { level: 'error', about: { chatId } });
    await until(() => calls.includes('close'), 'the session to be removed');
    t.equal(loads, 10);
    t.notOk(
      all.agent.requests.some(({ method }) => method === 'chat.end'),
      'no agent is asked without a token',
    );
  },
);

t.test('an identity.save that throws keeps its own session out of the store, and no other [F-492]', async (t) => {
  const { store, memory } = watched();
  let isBroken = false;
  let name = 'broken';
  const all = await world(t, {
    cluster: { store, node: 'a', lease: 100 },
    attach: () => ({ identity: name }),
    identity: {
      save: (identity) => {
        if (isBroken && identity === 'broken') throw new Error('cannot be saved');
        return String(identity);
      },
    },
  });
  const broken = await all.connect();
  t.match(await broken.ask(to('support', 'hello')), { type: 'response' });
  isBroken = true;
  const late = await all.connect();
  t.match(await late.ask(to('support', 'hello')), { type: 'error', data: { code: -41_002 } });
  t.equal(stateOf(all), 'ok', 'it is no failure of the store');
  name = 'fine';
  const fine = await all.connect();
  t.match(await fine.ask(to('support', 'hello')), { type: 'response' });
  memory.lose();
  await until(async () => (await memory.sessionsOf('fine'))[0]?.owner === 'a', 'the other to be registered again');
  await until(() => stateOf(all) === 'ok', 'the node to be well');
  t.match(await fine.ask(to('hr', 'hello')), { type: 'response' });
  t.match(await broken.ask(to('support', 'hello')), { type: 'response' }, 'what runs continues');
  t.match(await all.log.line('identity.save threw'), { level: 'error' });
});

t.test('nor does an identity.save whose result is no JSON keep a node from renewing its lease [F-492]', async (t) => {
  const { store, memory } = watched();
  const open = memory.open.bind(memory);
  // As a store in a database does.
  memory.open = async (node, meta) => open(node, JSON.parse(JSON.stringify(meta)));
  const names: Record<string, unknown>[] = [];
  const all = await world(t, {
    cluster: { store, node: 'a', lease: 100 },
    attach: () => {
      names.push({ id: `user-${names.length}` });
      return { identity: names.at(-1) };
    },
    identity: { save: (identity) => identity as JsonValue },
  });
  const [one, two] = [await all.connect(), await all.connect()];
  t.match(await one.ask(to('support', 'hello')), { type: 'response' });
  t.match(await two.ask(to('support', 'hello')), { type: 'response' });
  // The application keeps something in the identity that cannot be stored.
  Object.assign(names[0] as object, { self: names[0] });
  memory.lose();
  await until(async () => (await memory.sessionsOf('user-1'))[0]?.owner === 'a', 'the other to be registered again');
  await until(() => stateOf(all) === 'ok', 'the node to be well');
  t.match(await two.ask(to('hr', 'hello')), { type: 'response' });
});

t.test('no identity is loaded for a session of a dead node that has no chats', async (t) => {
  const { store, memory } = watched();
  const loaded: unknown[] = [];
  const all = await world(t, {
    cluster: { store, node: 'a', lease: 100 },
    sessionToken: () => 'token',
    identity: { save: String, load: (saved) => void loaded.push(saved) },
  });
  const node = { name: 'dead', incarnation: randomUUID(), lease: LONG };
  await store.join(node);
  await store.open(node, { sid: randomUUID(), grace: 0, identityKey: 'empty', identity: 'empty' });
  await store.leave(node);
  await until(async () => (await memory.sessionsOf('empty')).length === 0, 'the session to be removed');
  t.strictSame(loaded, []);
  t.equal(stateOf(all), 'ok');
});

t.test('a reaper that cannot reach the agent logs the orphaned chat, and removes the session', async (t) => {
  const store = memoryStore();
  const all = await world(t, { cluster: { store, lease: 100 }, cleanupTimeout: 200, leaks: true });
  all.agent.script('chat.end', { status: 500, body: 'broken', times: 1000 } as never);
  const chatId = await deadSession(store, all);
  t.match(await all.log.line('orphaned chat of a dead node'), { level: 'error', about: { chatId } });
  await until(() => all.relay.stats().cluster?.reaped === 1, 'the session to be removed');
});

t.test('after the store has lost its data a node registers its sessions again', async (t) => {
  const { store, memory } = watched();
  const all = await world(t, { cluster: { store, node: 'a', lease: 100 } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  memory.lose();
  const node = { name: 'a', incarnation: '', lease: LONG };
  await until(async () => {
    const places = await memory.sessionsOf('me');
    return places[0]?.owner === node.name;
  }, 'the session to be registered again');
  t.match(await client.ask(to('support', 'hello')), { type: 'response' });
});

t.test(
  'a message that comes when data was lost and the store is away fails, and its session stays [S-102]',
  async (t) => {
    const { store, memory, before } = watched();
    const all = await world(t, { cluster: { store, node: 'a', lease: 10_000 } });
    const client = await all.connect();
    await client.ask(to('support', 'hello'));
    before.renew = () => Promise.reject(new StoreError('away', 'no answer'));
    memory.lose();
    t.match(await client.ask(to('sales', 'hello')), { type: 'error', data: { code: -41_002 } });
    before.renew = () => Promise.resolve();
    t.match(await client.ask(to('sales', 'hello')), { type: 'response' });
    t.match(await client.ask(to('support', 'hello')), { type: 'response' });
    t.equal(all.agent.counters.started, 2);
  },
);

t.test('sessions are registered again although the first attempt after a loss of data failed', async (t) => {
  const { store, memory, before } = watched();
  const all = await world(t, { cluster: { store, node: 'a', lease: 200 } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  let failures = 2;
  before.open = async () => {
    failures -= 1;
    if (failures >= 0) throw new Error('away again');
  };
  memory.lose();
  await until(async () => (await memory.sessionsOf('me'))[0]?.owner === 'a', 'the session to be registered again');
  await until(() => stateOf(all) === 'ok', 'the node to be well');
  t.match(await client.ask(to('support', 'hello')), { type: 'response' });
  t.equal(all.agent.counters.started, 1);
});

t.test('a thread that is started right after a loss of data registers the session again', async (t) => {
  const { store, memory } = watched();
  const all = await world(t, { cluster: { store, node: 'a', lease: 60_000 } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  memory.lose();
  t.match(await client.ask(to('hr', 'hello')), { type: 'response' });
  t.match(await client.ask({ type: 'end', agent_id: 'hr' }), { type: 'ended' });
  t.match(await client.ask(to('support', 'hello')), { type: 'response' });
  t.equal(all.agent.counters.started, 2);
  t.equal((await memory.sessionsOf('me'))[0]?.owner, 'a');
});

t.test('a session that the store has and the node does not know is ended', async (t) => {
  const { store, memory, before } = watched();
  const all = await world(t, { cluster: { store, lease: 100 } });
  await until(() => stateOf(all) === 'ok', 'the node to join');
  const client = await all.connect();
  // The write happens, but its answer is lost.
  const open = memory.open.bind(memory);
  memory.open = async (...args) => {
    await open(...args);
    throw new Error('the connection was lost');
  };
  t.match(await client.ask(to('support', 'hello')), { type: 'error' });
  client.socket.close();
  memory.open = open;
  delete before.open;
  await until(async () => (await memory.sessionsOf('me')).length === 0, 'the session to be ended');
  await until(() => stateOf(all) === 'ok', 'the node to agree with the store');
});

t.test('a process that takes the name of another one fences it off', async (t) => {
  const store = memoryStore();
  const all = await world(t, { cluster: { store, node: 'a', lease: 100 } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  const second = otherRelay(t, all, { cluster: { store, node: 'a', lease: 100 } });
  t.match(await client.closed, { code: 1012 });
  t.equal(stateOf(all), 'fenced');
  t.match(await all.log.line('may have lost its sessions'), { level: 'error', about: { node: 'a' } });
  const late = await all.connect();
  t.match(await late.ask(to('support', 'hello')), { type: 'error', data: { code: -41_002 } });
  await all.agent.waitFor('idle');
  await until(() => second.stats().cluster?.reaped === 1, 'the second to end the chats of the first');
});

t.test('while the store is away open threads continue, new ones fail, and the state says so', async (t) => {
  const { store, before } = watched();
  const all = await world(t, { cluster: { store, lease: 1000 } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  for (const name of ['renew', 'thread', 'open', 'reap'] as const) {
    before[name] = async () => {
      throw new Error('away');
    };
  }
  await until(() => stateOf(all) === 'away', 'the store to be away');
  t.match(await client.ask(to('support', 'hello')), { type: 'response' });
  t.match(await client.ask(to('hr', 'hello')), { type: 'error', data: { code: -41_002 } });
  await until(() => stateOf(all) === 'fenced', 'the lease and its grace to be over');
  const requests = all.agent.counters.requests;
  t.match(await client.ask(to('support', 'hello')), { type: 'error', data: { code: -41_002 } });
  t.equal(all.agent.counters.requests, requests, 'nothing is sent that another node may have ended');
  for (const name of ['renew', 'thread', 'open', 'reap'] as const) delete before[name];
  await until(() => stateOf(all) === 'ok', 'the store to be back');
  t.match(await client.ask(to('support', 'hello')), { type: 'response' });
  t.match(await client.ask(to('hr', 'hello')), { type: 'response' });
  const changes = all.log.lines.filter(({ about }) => about.state !== undefined).map(({ about }) => about.state);
  t.same(changes, ['ok', 'away', 'fenced', 'ok'], 'each change is logged once');
});

t.test(
  'what waited for a connection while the process was frozen is not written before its lease is renewed [S-96]',
  async (t) => {
    const { store, before } = watched();
    const lease = 300;
    const all = await world(t, { cluster: { store, lease } });
    const client = await all.connect();
    await client.ask(to('support', 'hello'));
    await client.ask(to('hr', 'hello'));
    // This one keeps the only connection, so that the next one has to open another.
    const held = all.agent.hold(({ agentId }) => agentId === 'support');
    client.send(to('support', 'keep the connection', { id: 1 }));
    await held.arrived;
    const isWritten = deferred<boolean>();
    const note = (written: boolean) => () => isWritten.resolve(written);
    const channels = { 'undici:client:sendHeaders': note(true), 'undici:request:error': note(false) };
    for (const [name, listener] of Object.entries(channels)) subscribe(name, listener);
    t.teardown(() => {
      for (const [name, listener] of Object.entries(channels)) unsubscribe(name, listener);
    });
    const gate = deferred();
    before.renew = () => gate.promise;
    client.send(to('hr', 'are you there?', { id: 2 }));
    await all.received(4);
    // It is being connected. Now nothing runs for longer than the lease.
    for (const end = performance.now() + lease * 2; performance.now() < end; );
    t.equal(await isWritten.promise, false);
    t.equal(all.agent.requests.filter(({ agentId }) => agentId === 'hr').length, 1);
    gate.resolve();
    t.match(await client.next(), { type: 'response', id: 2 }, 'it is sent when the lease is good again');
    held.release();
    t.match(await client.next(), { type: 'response', id: 1 });
  },
);

t.test(
  'a message that may not be written any more is answered with -41002, since nothing was sent [F-167]',
  async (t) => {
    const { store, before } = watched();
    const lease = 300;
    const all = await world(t, { cluster: { store, lease } });
    const client = await all.connect();
    await client.ask(to('support', 'hello'));
    const [renewing, storing] = [deferred(), deferred()];
    before.renew = () => renewing.promise;
    before.thread = () => storing.promise;
    client.send(to('hr', 'is anybody there?', { id: 1 }));
    // The store takes the thread, when nobody has renewed the lease.
    await until(() => !(all.relay.cluster?.isLeaseGood ?? true), 'the lease to be over');
    storing.resolve();
    t.match(await client.next(), { type: 'error', id: 1, data: { code: -41002 } });
    t.equal(all.agent.counters.started, 1);
    renewing.resolve();
  },
);

t.test('relay.endSessions ends the sessions of a user on all nodes, and those of dead nodes', async (t) => {
  const store = memoryStore();
  const attach = (request: { headers: { user?: string } }) => ({ identity: { id: request.headers.user } });
  const one = await world(t, { cluster: { store }, attach: attach as never });
  const other = await world(t, { cluster: { store }, attach: attach as never });
  await until(() => stateOf(one) === 'ok' && stateOf(other) === 'ok', 'the nodes to join');
  const connect = (all: World, user: string) => all.connect({ headers: { user } });
  const [ann1, ann2, idle, bob] = [
    await connect(one, 'ann'),
    await connect(other, 'ann'),
    await connect(other, 'ann'),
    await connect(other, 'bob'),
  ];
  await ann1.ask(to('support', 'hello'));
  await ann2.ask(to('support', 'hello'));
  const node = { name: 'dead', incarnation: randomUUID(), lease: LONG };
  await store.join(node);
  await store.open(node, { sid: 's1', grace: LONG, identityKey: 'ann' });
  await store.leave(node);
  await one.relay.endSessions('ann');
  for (const client of [ann1, ann2, idle]) t.match(await client.closed, { code: 4401, reason: 'Signed out' });
  t.match(await bob.ask(to('support', 'hello')), { type: 'response' });
  await until(async () => (await store.sessionsOf('ann')).length === 0, 'the sessions to be removed');
});

t.test('in a cluster clients get 1012 at shutdown, because other nodes stay up [F-298]', async (t) => {
  const all = await world(t, { cluster: { store: memoryStore() } });
  const client = await all.connect();
  await client.ask(to('support', 'hello'));
  await all.relay.close();
  t.match(await client.closed, { code: 1012 });
});

t.test('options that are wrong are refused by name', async (t) => {
  const store = memoryStore();
  const endpoint = 'http://127.0.0.1:1';
  const wrong: [Partial<Record<keyof RelayOptions, unknown>>, RegExp][] = [
    [{ cluster: {} }, /^cluster: needs a store/],
    [{ cluster: null }, /^cluster: needs a store/],
    [{ cluster: { store, node: '' } }, /^cluster: node must have/],
    [{ cluster: { store, lease: 5 } }, /^cluster: lease must be/],
    [{ cluster: { store, leases: 5 } }, /^cluster: has no option leases/],
    [{ identity: { key: 'id' } }, /^identity: must be an object of functions/],
    [{ identity: { keys: () => 'id' } }, /^identity: must be/],
    [{ cluster: { store }, sessionToken: () => 'x' }, /^cluster: with sessionToken needs identity.save/],
  ];
  for (const [options, message] of wrong) {
    t.throws(() => createRelay({ endpoint, ...(options as RelayOptions) }), { name: 'TypeError', message });
  }
});

t.test('a session with an agent client of its own is refused in a cluster', async (t) => {
  const all = await world(t, { cluster: { store: memoryStore() } });
  const thrown = deferred<unknown>();
  all.server.removeAllListeners('connection');
  all.server.on('connection', (socket, request) => {
    try {
      all.relay.attach(socket, request, { client: all.relay.config.client });
    } catch (error) {
      thrown.resolve(error);
      socket.terminate();
    }
  });
  await all.connect();
  t.match(await thrown.promise, { name: 'TypeError', message: /^client: cannot be passed in a cluster/ });
});
