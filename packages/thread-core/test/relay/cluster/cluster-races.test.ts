import { once } from 'node:events';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import t from 'tap';
import { FencedError, type JsonValue, StoreError } from '../../../src/index.js';
import type { TestAgent } from '../../../src/testing/index.js';
import { type Client, deferred, type Frame, textOf, to, until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

/** A session without a connection whose client has got three pieces of an answer. The fourth, the last, comes with `gate`. */
async function detachedStream(agent: TestAgent, node: ClusterNode) {
  const gate = deferred();
  agent.script('chat.start', async function* () {
    for (const piece of ['1', '2', '3']) yield piece;
    await gate.promise;
    yield '4';
  });
  const [client, { session }] = await node.resume();
  client.send(to('support', 'x', { id: 1, stream: true }));
  await client.all(3);
  await node.dropAll();
  return { session, gate };
}

/** The call, before each of whose first two times the store loses its data; and how many losses are still to come. */
function losingDataTwice<Args extends unknown[], Result>(
  store: { lose(): void },
  call: (...args: Args) => Result,
): [(...args: Args) => Result, () => number] {
  let left = 2;
  const losing = (...args: Args): Result => {
    if (left > 0) {
      left -= 1;
      store.lose();
    }
    return call(...args);
  };
  return [losing, () => left];
}

t.test('grace that ends while the session is being handed over ends nothing [S-84]', async (t) => {
  const grace = 50;
  const { agent, nodes } = await cluster(t, 2, { resume: { grace } });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = deferred();
  a.gates.handover = gate.promise;
  const closed = once(first.socket, 'close');
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await closed)[0], 4409, 'the handover has begun');
  // The grace of a session that is lost now ends later.
  const [later] = await a.resume();
  await later.ask(to('hr', 'x', { id: 1 }));
  later.socket.terminate();
  await until(() => agent.counters.ended === 1, 'the grace of the other session to end');
  gate.resolve();
  t.match(await client.next(), { resumed: true, seq: 1, got: 1 });
  t.equal(textOf(await client.ask(to('support', 'y', { id: 2 }))), 'support #2: y');
  t.equal(agent.counters.ended, 1);
});

t.test(
  'of two connections that resume at two nodes at once, one has the session and one gets 4409 [S-53]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 3);
    const [a] = nodes as [ClusterNode];
    let [client, { session }] = await a.resume();
    await client.ask(to('support', 'x', { id: 0 }));
    for (let turn = 1; turn <= 12; turn += 1) {
      const both = [nodes[turn % 3], nodes[(turn + 1) % 3]] as Pair;
      const clients = (await Promise.all(both.map((node) => node.connect()))) as [Client, Client];
      const codes = clients.map(async (each, index) => ({ index, code: (await once(each.socket, 'close'))[0] }));
      for (const each of clients) each.send({ type: 'resume', session, seq: turn, sent: turn });
      const loser = await Promise.race(codes);
      t.equal(loser.code, 4409);
      client = clients[1 - loser.index] as Client;
      t.match(await client.next(), { type: 'ready', resumed: true, session, seq: turn, got: turn });
      t.match(await client.ask(to('support', 'x', { id: turn })), { type: 'response', seq: turn + 1 });
    }
    t.equal(agent.counters.started, 1);
  },
);

t.test('a stream that runs longer than drainTimeout ends with cancelled, and its chat continues [S-58]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const gate = deferred();
  agent.script('chat.start', async function* () {
    yield 'one ';
    yield 'two ';
    await gate.promise;
    yield 'three';
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 'q', stream: true }));
  const frames: Frame[] = [await first.next(), await first.next()];
  const closed = once(first.socket, 'close');
  await a.relay.close({ timeout: 50 });
  while (frames.at(-1)?.type !== 'cancelled') frames.push(await first.next());
  t.equal((await closed)[0], 1012);
  gate.resolve();
  const seq = frames.length;
  t.equal(frames.at(-1)?.seq, seq, 'nothing is missing');
  const [second, ready] = await b.resume({ session, seq, sent: 1 });
  t.match(ready, { resumed: true, seq, got: 1, pending: [] });
  t.equal(textOf(await second.ask(to('support', 'y', { id: 'r' }))), 'support #2: y');
  t.equal(agent.counters.started, 1);
});

t.test('a node that may have lost a session sends none of the messages that waited in it [S-86]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.message');
  first.send(to('support', 'running', { id: 2 }), to('support', 'waiting', { id: 3 }));
  await gate.arrived;
  a.isCutOff = true;
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 3 });
  t.match(ready, { resumed: true, pending: [] }, 'the client is told that both were interrupted');
  gate.release();
  await until(() => a.relay.stats().pending === 0, 'the former owner to be done');
  t.equal(textOf(await second.ask(to('support', 'y', { id: 4 }))), 'support #3: y');
  t.notOk(agent.requests.some(({ body }) => body.includes('waiting')));
});

t.test('a session that is handed over is not ended by a new owner that renews before it is told [S-89]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.message');
  first.send(to('support', 'y', { id: 2 }));
  await gate.arrived;
  const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, pending: [2] });
  const posting = deferred();
  a.gates.post = posting.promise;
  gate.release();
  await until(() => a.relay.stats().sessions === 0, 'the session to be handed over');
  // Each thread that the store refuses at first makes the new owner renew at once.
  const refused = new Set<string>();
  const thread = store.thread.bind(store);
  store.thread = async (owned, key, entry) => {
    if (owned.node !== 'b' || refused.has(key)) return thread(owned, key, entry);
    refused.add(key);
    throw new FencedError('session');
  };
  const other = await b.connect();
  for (let id = 1; id <= 5; id += 1) await other.ask(to(`agent-${id}`, 'x', { id }));
  t.ok(refused.size > 2, 'renewed often enough');
  t.equal(agent.counters.ended, 0);
  posting.resolve();
  t.match(await second.next(), { type: 'response', id: 2, seq: 2 });
  t.equal(textOf(await second.ask(to('support', 'z', { id: 3 }))), 'support #3: z');
});

t.test('a node that is told late that a session is its own leaves it to the node that has it now [S-90]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const asked: JsonValue[] = [];
  const post = store.post.bind(store);
  store.post = (node, message) => {
    asked.push(message);
    return post(node, message);
  };
  const [second] = await b.resume({ session, seq: 1, sent: 1 });
  const { request } = asked.find((message) => Object(message).type === 'move') as { request: JsonValue };
  // The answer to a question that nobody waits for: the node was frozen meanwhile.
  await post('a', { type: 'move-answer', ask: 'long ago', answer: 'moved', request });
  const [third] = await a.resume();
  await third.ask(to('support', 'a later one', { id: 1 }));
  t.equal(textOf(await second.ask(to('support', 'y', { id: 2 }))), 'support #2: y');
  t.match(b.relay.stats(), { cluster: { handedOver: 0 } });
  t.equal(agent.counters.started, 2);
});

t.test('a node whose lease is over takes no session from the node that has its client [S-91]', async (t) => {
  const { store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [client, { session }] = await a.resume();
  t.match(await client.ask(to('support', 'one', { id: 1 })), { type: 'response' });
  const renewing = deferred();
  b.gates.renew = renewing.promise;
  await until(async () => !(await store.nodes()).includes('b'), 'the lease of the other node to end');
  const late = await b.connect();
  late.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await late.closed).code, 1013);
  t.match(await client.ask(to('support', 'two', { id: 2 })), { type: 'response' });
  const renew = store.renew.bind(store);
  let renewals = 0;
  store.renew = (node) => {
    if (node.name === 'b') renewals += 1;
    return renew(node);
  };
  renewing.resolve();
  // The first one was asked for before: its lease is over. The third begins when the second has an answer.
  await until(() => renewals === 3, 'the other node to be back');
  const [, ready] = await b.resume({ session, seq: 2, sent: 2 });
  t.match(ready, { resumed: true });
});

t.test('a store that loses its data twice in a row takes no session away from its node [S-109]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a] = nodes as Pair;
  const [client] = await a.resume();
  await client.ask(to('support', 'x', { id: 1 }));
  const [thread, lossesLeft] = losingDataTwice(store, store.thread.bind(store));
  store.thread = thread;
  t.match(await client.ask(to('hr', 'y', { id: 2 })), { type: 'response' });
  t.match(await client.ask(to('support', 'z', { id: 3 })), { type: 'response' });
  t.match(agent.counters, { started: 2, ended: 0 });
  t.equal(lossesLeft(), 0);
});

t.test('a session whose grace ends while the store loses its data twice is ended by its node [S-109]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2, { resume: { grace: 50 } });
  const [a] = nodes as Pair;
  const [client] = await a.resume();
  await client.ask(to('support', 'x', { id: 1 }));
  const [expire, lossesLeft] = losingDataTwice(store, store.expire.bind(store));
  store.expire = expire;
  await a.dropAll();
  await agent.waitFor(({ counters }) => counters.open === 0);
  t.equal(lossesLeft(), 0);
});

t.test(
  'a registration without an answer, whose session another node has claimed since, is given up [S-110]',
  async (t) => {
    const { store, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    let opened = 0;
    const open = store.open.bind(store);
    store.open = (...args) => {
      opened += 1;
      return open(...args);
    };
    a.lost.add('open');
    const [first, { session }] = await a.resume();
    await until(() => opened === 1, 'the registration');
    a.isCutOff = true;
    const post = store.post.bind(store);
    store.post = (to, message) => (to === 'a' && a.isCutOff ? Promise.resolve(true) : post(to, message));
    const closed = once(first.socket, 'close');
    const [, ready] = await b.resume({ session, seq: 0, sent: 0 });
    t.match(ready, { resumed: true });
    a.lost.clear();
    a.isCutOff = false;
    t.equal((await closed)[0], 1012);
    t.equal(opened, 2, 'it was asked for once more');
  },
);

t.test('a question for a session that is posted twice is answered once [S-111]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const gate = deferred();
  agent.script('chat.start', async function* () {
    yield 'one ';
    await gate.promise;
    yield 'two';
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  t.match(await first.next(), { type: 'content', seq: 1 });
  await a.dropAll();
  let question: [string, JsonValue] | undefined;
  const post = store.post.bind(store);
  store.post = (...args) => {
    const [, message] = args;
    if ((message as { type?: string }).type === 'move') question = args;
    return post(...args);
  };
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  // As a client of Redis does that has lost its connection before the answer came.
  await post(...(question as [string, JsonValue]));
  const asked = question?.[1] as { request: { [name: string]: JsonValue } };
  // A question of somebody else comes after it.
  await post('a', {
    type: 'move',
    from: 'b',
    ask: 'other',
    request: { ...asked.request, sid: 'x' },
  });
  gate.resolve();
  t.match(await second.next(), { type: 'content', seq: 2 });
  t.match(await second.next(), { type: 'done', seq: 3 });
  t.equal(second.socket.readyState, second.socket.OPEN);
});

t.test('while the store is away after a handover without an answer, nobody gets the session [S-105]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2, { lease: 2000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  let renewals = 0;
  const renew = store.renew.bind(store);
  // Of the node whose client comes back: it fails as often as is waited for.
  store.renew = (node) => {
    if (node.name !== 'a' || isBack) return renew(node);
    renewals += 1;
    return Promise.reject(new StoreError('away', 'cut off'));
  };
  let isBack = true;
  const handover = store.handover.bind(store);
  // It is carried out later than its node waits for it.
  let late: (() => Promise<unknown>) | undefined;
  store.handover = (...args) => {
    isBack = false;
    late = () => handover(...args);
    return Promise.reject(new StoreError('away', 'no answer'));
  };
  const other = await b.connect();
  other.send({ type: 'resume', session, seq: 1, sent: 1 });
  await until(() => renewals > 0, 'the handover, and a renewal');
  other.socket.terminate();
  const client = await a.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  let isEarly = true;
  const answered = client.next().then((frame) => ({ frame, isEarly }));
  const before = renewals;
  // Well before the lease is over, which is three renewals long.
  await until(() => renewals > before, 'another renewal');
  await late?.();
  store.handover = handover;
  isEarly = false;
  isBack = true;
  const { frame, isEarly: wasEarly } = await answered;
  t.equal(wasEarly, false, 'the client waits');
  t.match(frame, { type: 'ready', resumed: true, seq: 1, got: 1 });
  t.equal(textOf(await client.ask(to('support', 'y', { id: 2 }))), 'support #2: y');
  t.equal(agent.counters.requests, 2);
});

t.test('a session that was detached when the store lost its data moves with all its frames [S-112]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { session, gate } = await detachedStream(agent, a);
  const stored = async (seq: number): Promise<boolean> =>
    ((await store.read(session.split('.')[0] as string, 0))?.frames.length ?? 0) >= seq;
  await until(() => stored(3), 'the frames to be stored');
  store.lose();
  await until(() => stored(3), 'them to be stored again');
  gate.resolve();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  t.match(await second.all(4), [{ seq: 2 }, { seq: 3 }, { seq: 4 }, { type: 'done', seq: 5 }]);
});

t.test(
  'a frame that is written while its session is registered again does not keep those before it out [S-112]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2, { lease: 1000 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await detachedStream(agent, a);
    const stored = async (): Promise<number[]> => {
      const slice = await store.read(session.split('.')[0] as string, 0);
      return slice?.frames.map((_, index) => slice.firstSeq + index) ?? [];
    };
    await until(async () => (await stored()).length === 3, 'the frames to be stored');
    const opened = deferred();
    const answer = deferred();
    const open = store.open.bind(store);
    store.open = async (...args) => {
      const result = await open(...args);
      opened.resolve();
      await answer.promise;
      return result;
    };
    store.lose();
    await opened.promise;
    gate.resolve();
    await until(() => a.relay.stats().pending === 0, 'the answer to be complete');
    // Frames are written at the end of the turn in which they come.
    for (let turn = 0; turn < 5; turn += 1) await endOfTurn();
    answer.resolve();
    await until(async () => (await stored()).at(-1) === 5, 'all frames to be stored');
    t.strictSame(await stored(), [1, 2, 3, 4, 5]);
    const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: true });
    t.match(await second.all(4), [{ seq: 2 }, { seq: 3 }, { seq: 4 }, { type: 'done', seq: 5 }]);
  },
);

t.test(
  'a node that has handed a session over removes no frames of it, in the same turn or later [S-114]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2, { lease: 10_000 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await detachedStream(agent, a);
    const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    const claim = deferred();
    b.gates.claim = claim.promise;
    gate.resolve();
    await until(() => a.relay.stats().sessions === 0, 'the session to be handed over');
    // Frames are written at the end of the turn in which they come.
    for (let turn = 0; turn < 5; turn += 1) await endOfTurn();
    const sid = session.split('.')[0] as string;
    t.equal((await store.read(sid, 0))?.frames.length, 4, 'what the client has not acknowledged is in the store');
    claim.resolve();
    t.match(await second.all(4), [{ seq: 2 }, { seq: 3 }, { seq: 4 }, { type: 'done', seq: 5 }]);
  },
);

t.test('frames are stored although a write before them got no answer, and was carried out late [S-106]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const gates = [deferred(), deferred(), deferred()];
  agent.script('chat.start', async function* () {
    yield '1';
    yield '2';
    await gates[0]?.promise;
    yield '3';
    await gates[1]?.promise;
    yield '4';
    await gates[2]?.promise;
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  await first.all(2);
  const append = store.append.bind(store);
  let late: (() => Promise<unknown>) | undefined;
  store.append = (...args) => {
    late = () => append(...args);
    return Promise.reject(new StoreError('away', 'no answer'));
  };
  await a.dropAll();
  await until(() => late !== undefined, 'the write');
  const [second] = await a.resume({ session, seq: 1, sent: 1 });
  await late?.();
  store.append = append;
  gates[0]?.resolve();
  t.match(await second.all(2), [{ seq: 2 }, { seq: 3 }]);
  second.send({ type: 'ack', seq: 3 });
  await second.ask({ type: 'ping' });
  await a.dropAll();
  gates[1]?.resolve();
  const [third, ready] = await b.resume({ session, seq: 3, sent: 1 });
  t.match(ready, { resumed: true });
  t.match(await third.next(), { type: 'content', seq: 4 });
  gates[2]?.resolve();
  t.match(await third.next(), { type: 'done', seq: 5 });
});
