// Sessions that move while something else happens: a shutdown, a sign-out, a lost name, a registration.
import { setImmediate as endOfTurn } from 'node:timers/promises';
import t from 'tap';
import { memoryStore, StoreError } from '../../../src/index.js';
import { startTestAgent } from '../../../src/testing/index.js';
import { deferred, to, until } from '../helpers.js';
import { ClusterNode, cluster, countCalls } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

/**
 * Holds the third time, and all later ones, that a node claims. The owner of a session with a connection has it asked twice, so
 * this is the claim after it has given the session.
 */
function holdLastClaim(node: ClusterNode): { asked: Promise<void>; release(): void } {
  const [asked, claiming] = [deferred(), deferred()];
  let claims = 0;
  node.onCall = (name) => {
    if (name !== 'claim') return;
    claims += 1;
    if (claims < 3) return;
    node.gates.claim = claiming.promise;
    asked.resolve();
  };
  return { asked: asked.promise, release: () => claiming.resolve() };
}

/** Resolves when a node asks its store to register a session, whose answer waits until `release`. */
function holdOpen(node: ClusterNode): { asked: Promise<void>; release(): void } {
  const [asked, opening] = [deferred(), deferred()];
  node.gates.open = opening.promise;
  node.onCall = (name) => {
    if (name === 'open') asked.resolve();
  };
  return { asked: asked.promise, release: () => opening.resolve() };
}

t.test('what waits to be written does not bring back a session that was found to be lost [S-115]', async (t) => {
  for (const isClaimed of [false, true]) {
    const { agent, store, nodes } = await cluster(t, 2, {
      resume: { grace: isClaimed ? 60_000 : 100 },
      cleanupTimeout: 500,
    });
    const [a, b] = nodes as Pair;
    const gate = deferred();
    agent.script('chat.start', async function* () {
      yield 'one ';
      await gate.promise;
      yield 'two';
    });
    const [first, { session }] = await a.resume();
    first.send(to('support', 'x', { id: 1, stream: true }));
    await first.next();
    a.isCutOff = true;
    // No question reaches it: it is claimed when its lease is over.
    const post = store.post.bind(store);
    store.post = (node, message) => (node === 'a' && a.isCutOff ? Promise.resolve(true) : post(node, message));
    if (isClaimed) t.match((await b.resume({ session, seq: 1, sent: 1 }))[1], { resumed: true });
    else await until(() => b.relay.stats().cluster?.reaped === 1, 'the session to be reaped');
    const open = holdOpen(a);
    a.isCutOff = false;
    await open.asked;
    first.send({ type: 'cancel', id: 1 });
    await until(() => a.relay.stats().pending === 0, 'the answer to be complete');
    open.release();
    gate.resolve();
    await until(() => a.relay.stats().sessions === 0, 'the session to be given up');
    for (let turn = 0; turn < 5; turn += 1) await endOfTurn();
    t.equal(a.relay.stats().cluster?.sessions, 0);
    t.strictSame(
      (await store.sessionsOf('me')).map(({ owner }) => owner),
      isClaimed ? ['b'] : [],
    );
  }
});

t.test('a question that comes late does not close the connection that came since [S-128]', async (t) => {
  const { store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const [asked, delayed, answered] = [deferred(), deferred(), deferred()];
  const post = store.post.bind(store);
  store.post = async (node, message) => {
    const { type, answer } = Object(message) as { type?: string; answer?: unknown };
    if (type === 'move') {
      asked.resolve();
      await delayed.promise;
    }
    const isPosted = await post(node, message);
    if (type === 'move-answer') answered.resolve();
    if (type === 'move-answer') t.equal(answer, 'retry');
    return isPosted;
  };
  const leaving = b.connect().then((client) => {
    client.send({ type: 'resume', session, seq: 1, sent: 1 });
    return client;
  });
  await asked.promise;
  (await leaving).socket.terminate();
  await until(() => b.relay.stats().sessions === 0, 'the client to leave the other node');
  const [second, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  delayed.resolve();
  await answered.promise;
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  t.equal(second.socket.readyState, second.socket.OPEN);
});

t.test('a session whose client was served by a node that closes stays with its owner [S-118]', async (t) => {
  const { agent, nodes } = await cluster(t, 3, { lease: 600 });
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const running = agent.hold('chat.message');
  first.send(to('support', 'y', { id: 2 }));
  await running.arrived;
  const [second] = await b.resume({ session, seq: 1, sent: 2 });
  const [busy] = await b.resume();
  const gate = agent.hold('chat.start');
  busy.send(to('hr', 'y', { id: 1 }));
  await gate.arrived;
  const closing = b.relay.close({ timeout: 30_000 });
  t.equal((await second.closed).code, 1012);
  running.release();
  await until(() => a.relay.stats().pending === 0, 'the answer to be complete');
  // A session that is given to it is found by its renewals.
  const renewals = countCalls(b, 'renew');
  await until(() => renewals.count > 3, 'the lease to be renewed several times');
  gate.release();
  await closing;
  t.equal(agent.counters.ended, 0);
  const [, ready] = await c.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true });
});

t.test('a session that comes to a node while that closes is left to the others [S-118]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 2000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await b.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const [busy] = await a.resume();
  const gate = agent.hold('chat.start');
  busy.send(to('hr', 'y', { id: 1 }));
  await gate.arrived;
  const claim = holdLastClaim(a);
  const client = await a.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  await claim.asked;
  const closing = a.relay.close({ timeout: 30_000 });
  t.equal((await client.closed).code, 1012);
  claim.release();
  await until(() => a.relay.stats().cluster?.claimed === 1, 'the session to be here');
  gate.release();
  await closing;
  t.equal(agent.counters.ended, 0, 'no chat was ended');
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
});

t.test('a user who is signed out while a node tries to park the session cannot resume it [S-119]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 900 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const parked = countCalls(a, 'park');
  a.isCutOff = true;
  const closing = a.relay.close({ timeout: 30_000 });
  await until(() => parked.count > 1, 'the node to ask several times');
  const gate = agent.hold('chat.end');
  a.relay.endSessions('me').catch(() => undefined);
  t.equal((await first.closed).code, 4401);
  await gate.arrived;
  a.isCutOff = false;
  const renewals = countCalls(a, 'renew');
  await until(() => renewals.count > 2, 'the lease to be renewed several times');
  gate.release();
  await closing;
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: false });
});

t.test('a sign-out ends a session that is on its way to another node [S-121]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 2000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.message');
  first.send(to('support', 'y', { id: 2 }));
  await gate.arrived;
  const claim = holdLastClaim(b);
  const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, pending: [2] });
  gate.release();
  t.match(await second.next(), { type: 'response', id: 2 });
  await claim.asked;
  await a.relay.endSessions('me');
  t.equal((await second.closed).code, 4401);
  claim.release();
  await agent.waitFor(({ counters }) => counters.open === 0);
  const [, after] = await a.resume({ session, seq: 2, sent: 2 });
  t.match(after, { resumed: false });
});

t.test('a sign-out ends a session that waits on a node to which it was given [S-121]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 2000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const claim = holdLastClaim(b);
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  await claim.asked;
  await b.dropAll();
  claim.release();
  await until(() => b.relay.stats().cluster?.claimed === 1, 'the session to be here');
  await a.relay.endSessions('me');
  await agent.waitFor(({ counters }) => counters.open === 0);
  const [, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: false });
});

t.test('no sign-out is one of all clients without an identity [S-121]', async (t) => {
  const { nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  a.server.removeAllListeners('connection');
  a.server.on('connection', (socket, request) => a.relay.attach(socket, request));
  const [client] = await a.resume();
  await a.relay.endSessions('');
  t.match(await client.ask(to('support', 'x', { id: 1 })), { type: 'response' });
});

t.test('a session whose identity cannot be loaded is ended, and disturbs no other [S-122]', async (t) => {
  const load = (): never => {
    throw new Error('no such user');
  };
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 100 }, identity: { save: () => 'me', load } });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await client.closed).code, 1013);
  await agent.waitFor(({ counters }) => counters.ended === 1);
});

t.test('a session whose identity cannot be loaded for a moment is continued, at whichever node [S-165]', async (t) => {
  let loads = 0;
  const load = (saved: unknown): unknown => {
    loads += 1;
    if (loads === 1) throw new Error('the database is busy');
    return saved;
  };
  const identity = { save: () => 'me', load };
  const { agent, nodes } = await cluster(t, 3, { identity });
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.close();
  const early = await b.connect();
  early.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await early.closed).code, 1013);
  const [second, ready] = await c.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.ended, 0);
});

t.test('a session whose chats are being ended is not registered again [S-123]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 1, { resume: { grace: 50 }, lease: 300 });
  const [a] = nodes as [ClusterNode];
  const [keeper] = await a.resume();
  await keeper.ask(to('hr', 'x', { id: 1 }));
  const [leaver] = await a.resume();
  await leaver.ask(to('support', 'x', { id: 1 }));
  const calls = { open: 0, renew: 0 };
  const gate = agent.hold('chat.end');
  leaver.socket.terminate();
  await gate.arrived;
  a.onCall = (name) => {
    if (name === 'open' || name === 'renew') calls[name] += 1;
  };
  await until(() => calls.renew > 5, 'the lease to be renewed several times');
  t.equal(calls.open, 0, 'nothing was lost');
  gate.release();
  await until(async () => (await store.sessionsOf('me')).length === 1, 'the session to be removed');
  t.match(await keeper.ask(to('hr', 'y', { id: 2 })), { type: 'response' });
});

t.test('clients of a node whose name was taken reconnect, also those whose session is elsewhere [S-124]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await b.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.message');
  first.send(to('support', 'y', { id: 2 }));
  await gate.arrived;
  const [second, ready] = await a.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, pending: [2] });
  await store.join({ name: 'a', incarnation: 'another', lease: 60_000 });
  t.equal((await second.closed).code, 1012);
  t.equal(a.state, 'fenced');
  gate.release();
  const [third, again] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(again, { resumed: true });
  t.match(await third.next(), { type: 'response', id: 2 });
});

t.test('a node whose name was taken stays fenced, whatever it cannot write [S-124]', async (t) => {
  const { store, nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await store.join({ name: 'a', incarnation: 'another', lease: 60_000 });
  await until(() => a.state === 'fenced', 'the node to be fenced');
  await a.resume();
  const written = deferred();
  a.onCall = (name) => {
    if (name === 'open' || name === 'park') written.resolve();
  };
  await a.dropAll();
  await written.promise;
  for (let turn = 0; turn < 5; turn += 1) await endOfTurn();
  t.equal(a.state, 'fenced');
  t.equal(a.relay.health().status, 'unavailable');
});

t.test('a relay that is closed while its store comes back listens to nothing [S-125]', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const store = memoryStore();
  let isListening = false;
  let listeners = 0;
  const onPost = store.onPost.bind(store);
  store.onPost = async (...args) => {
    if (!isListening) throw new StoreError('away', 'not yet');
    const stop = await onPost(...args);
    listeners += 1;
    return async () => {
      listeners -= 1;
      await stop();
    };
  };
  const node = new ClusterNode(store, agent, { node: 'a' });
  t.teardown(() => node.close());
  await until(() => node.state === 'ok', 'the node to join');
  const [asked, renewing] = [deferred(), deferred()];
  node.gates.renew = renewing.promise;
  node.onCall = (name) => {
    if (name === 'renew') asked.resolve();
  };
  await asked.promise;
  const closing = node.relay.close({ timeout: 0 });
  await endOfTurn();
  isListening = true;
  renewing.resolve();
  await closing;
  for (let turn = 0; turn < 5; turn += 1) await endOfTurn();
  t.equal(listeners, 0);
});

t.test('an acknowledgement that comes while the session moves to its client counts [S-127]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, {
    resume: { maxBufferedBytes: 2000 },
    stalledTimeout: 1000,
    lease: 2000,
  });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.message');
  first.send(to('support', 'z'.repeat(4000), { id: 2 }));
  await gate.arrived;
  const claim = holdLastClaim(b);
  const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, pending: [2] });
  gate.release();
  t.match(await second.next(), { type: 'response', id: 2, seq: 2 });
  await claim.asked;
  second.send({ type: 'ack', seq: 2 }, { type: 'ping', id: 'p' });
  t.match(await second.next(), { type: 'pong' });
  claim.release();
  t.match(await second.ask(to('support', 'y', { id: 3 })), { type: 'response', id: 3, seq: 3 });
});
