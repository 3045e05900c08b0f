// Attempts to resume that must not succeed: with a wrong secret, while the lease is over, after a newer one, or while the session ends.
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];
type Three = [ClusterNode, ClusterNode, ClusterNode];

/** Counts how often a node looks for a session, and ends an endless search. */
function countSearches({ relay }: ClusterNode): { count: number } {
  const searches = { count: 0 };
  const { resumables } = relay;
  if (resumables === undefined) throw new Error('Its sessions are not resumable');
  const has = resumables.has.bind(resumables);
  resumables.has = (sid) => {
    searches.count += 1;
    if (searches.count > 10_000) throw new Error('The search does not end');
    return has(sid);
  };
  return searches;
}

t.test('a wrong secret for a session of the same node is answered at once [S-161]', async (t) => {
  const { nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first, { session }] = await a.resume();
  const searches = countSearches(a);
  const [, ready] = await a.resume({ session: `${session}x`, seq: 0, sent: 0 });
  t.match(ready, { resumed: false, reason: 'unknown' });
  t.ok(searches.count < 10, `${searches.count} searches`);
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 }, 'its owner is not disturbed');
});

t.test('a clock that is set back while the store is away does not make a lease good again [S-162]', async (t) => {
  const { nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await until(() => !(a.relay.cluster?.isLeaseGood ?? true), 'the lease to be over');
  const { now } = Date;
  t.teardown(() => {
    Date.now = now;
  });
  Date.now = () => now() - 500;
  const searches = countSearches(a);
  const second = await a.connect();
  second.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await second.closed).code, 1013);
  t.ok(searches.count < 10, `${searches.count} searches`);
});

t.test('two questions for a session that come late do not close the connection that came since [S-128]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  const moves = a.relay.cluster?.moves;
  if (moves === undefined) throw new Error('It is no node of a cluster');
  const onMessage = moves.onMessage.bind(moves);
  const late: Parameters<typeof onMessage>[0][] = [];
  moves.onMessage = (message) => void late.push(message);
  const gone = await b.connect();
  gone.send({ type: 'resume', session, seq: 1, sent: 1 });
  await until(() => late.length === 2, 'the other node to ask again', 10_000);
  await b.dropAll();
  const [second, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  const resumedAt = performance.now();
  // They say for how long the client had waited when they were posted, and not for how long they were under way.
  const waited = Math.max(...late.map((message) => message.request.waited ?? 0));
  await until(() => performance.now() - resumedAt > waited, 'them to seem newer');
  moves.onMessage = onMessage;
  for (const message of late) onMessage(message);
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
});

t.test('an attempt to resume that its client has given up takes nothing from the newer one [S-163]', async (t) => {
  const { nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as Three;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const claiming = deferred();
  b.gates.claim = claiming.promise;
  const waiting = deferred();
  b.onCall = (name) => {
    if (name === 'claim') waiting.resolve();
  };
  const older = await b.connect();
  older.send({ type: 'resume', session, seq: 1, sent: 1 });
  await waiting.promise;
  const [newer, ready] = await c.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  claiming.resolve();
  t.equal((await older.closed).code, 4409);
  t.match(await newer.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
});

t.test('nor does it take anything from a newer one that is served over a link [S-163]', async (t) => {
  const { agent, nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as Three;
  const { session, gate } = await holdStart(agent, a);
  await a.dropAll();
  const claiming = deferred();
  b.gates.claim = claiming.promise;
  const waiting = deferred();
  b.onCall = (name) => {
    if (name === 'claim') waiting.resolve();
  };
  const older = await b.connect();
  older.send({ type: 'resume', session, seq: 0, sent: 1 });
  await waiting.promise;
  // Longer than a lease.
  await pause(800);
  const [newer, ready] = await c.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, pending: [1] });
  claiming.resolve();
  t.equal((await older.closed).code, 4409);
  gate.release();
  t.match(await newer.next(), { type: 'response', id: 1 });
});

t.test(
  'an attempt whose first question came late, and whose answer was lost, is not taken for an older one [S-163]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    await a.dropAll();
    const post = store.post.bind(store);
    const seen = { move: 0, 'move-answer': 0 };
    store.post = async (node, message) => {
      const { type } = Object(message) as { type?: string };
      if (type === 'move' || type === 'move-answer') seen[type] += 1;
      // As if it took longer on its way than the next one.
      if (type === 'move' && seen.move === 1) await pause(60);
      return type === 'move-answer' && seen[type] === 1 ? true : post(node, message);
    };
    const [, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    gate.release();
  },
);

t.test('a session that its node took back, and that is ended there, is not taken back once more [S-167]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 300, sendTimeout: 1000 });
  const [a, b] = nodes as Pair;
  const { first, session, gate } = await holdStart(agent, a);
  for (const node of nodes) node.isCutOff = true;
  t.equal((await first.closed).code, 1012);
  gate.release();
  for (const node of nodes) {
    node.isCutOff = false;
    await until(() => node.state === 'ok', 'the node to be back');
  }
  const [second, ready] = await a.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  const { claimed } = a.relay.stats().cluster ?? {};
  const ending = agent.hold('chat.end');
  [...a.relay.sessions][0]?.close(1000, 'Ended by the application');
  await ending.arrived;
  const asked = deferred();
  b.onCall = (name) => {
    if (name === 'post') asked.resolve();
  };
  const third = await b.connect();
  third.send({ type: 'resume', session, seq: 1, sent: 2 });
  await asked.promise;
  ending.release();
  t.match(await third.next(), { type: 'ready', resumed: false });
  t.equal(a.relay.stats().cluster?.claimed, claimed);
});

t.test(
  'a message that waited, and was sent by another node, is not sent again when its session ends there [S-168]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 3, { busy: 'queue' });
    const [a, b, c] = nodes as Three;
    const { first, session, gate } = await holdStart(agent, a);
    first.send(to('support', 'waits', { id: 2 }));
    await until(() => a.relay.stats().waiting === 1, 'the message to wait');
    await a.close();
    gate.release();
    const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, got: 2 });
    t.match(await second.next(), { id: 2 });
    const { accepted } = agent.counters;
    b.isCutOff = true;
    await until(() => !(b.relay.cluster?.isLeaseGood ?? true), 'the lease to be over');
    await b.dropAll();
    const early = await b.connect();
    early.send({ type: 'resume', session, seq: 2, sent: 2 });
    t.equal((await early.closed).code, 1013);
    b.isCutOff = false;
    await until(() => b.state === 'ok', 'the node to be back');
    t.match((await b.resume({ session, seq: 2, sent: 2 }))[1], { resumed: true });
    const ending = agent.hold('chat.end');
    [...b.relay.sessions].find(({ id }) => session.startsWith(id))?.close(4000, 'Ended by the application');
    await ending.arrived;
    const [, answer] = await c.resume({ session, seq: 2, sent: 2 });
    t.match(answer, { resumed: false, reason: 'expired' });
    ending.release();
    t.equal(agent.counters.accepted, accepted);
  },
);

t.test('a newer attempt that took longer before it asked is not taken for an older one [S-163]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 3, { lease: 2000 });
  const [a, b, c] = nodes as Three;
  const { session, gate } = await holdStart(agent, a);
  await a.dropAll();
  const post = store.post.bind(store);
  const reading = deferred();
  let asked = 0;
  store.post = async (node, message) => {
    if ((Object(message) as { type?: string }).type === 'move') {
      asked += 1;
      await reading.promise;
    }
    return post(node, message);
  };
  const older = await b.connect();
  older.send({ type: 'resume', session, seq: 0, sent: 1 });
  await until(() => asked === 1, 'the older attempt to ask');
  older.socket.terminate();
  const claiming = deferred();
  c.gates.claim = claiming.promise;
  const newer = await c.connect();
  newer.send({ type: 'resume', session, seq: 0, sent: 1 });
  // Longer than the older one took.
  await pause(50);
  claiming.resolve();
  await until(() => asked === 2, 'the newer attempt to ask');
  reading.resolve();
  t.match(await newer.next(), { type: 'ready', resumed: true, pending: [1] });
  gate.release();
});

t.test('the older of two connections at the node to which a session moves gets 4409 [S-53]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 2000 });
  const [a, b] = nodes as Pair;
  const { session, gate } = await holdStart(agent, a);
  await a.dropAll();
  const [older] = await b.resume({ session, seq: 0, sent: 1 });
  const [asking, claiming] = [deferred(), deferred()];
  let claims = 0;
  b.onCall = (name) => {
    if (name !== 'claim') return;
    claims += 1;
    if (claims < 2) return;
    b.gates.claim = claiming.promise;
    asking.resolve();
  };
  const newer = await b.connect();
  newer.send({ type: 'resume', session, seq: 0, sent: 1 });
  await asking.promise;
  // The session moves for the older one, while the newer one asks for it.
  gate.release();
  await until(() => a.relay.stats().sessions === 0, 'the session to be given');
  claiming.resolve();
  t.match(await newer.next(), { type: 'ready', resumed: true });
  t.equal((await older.closed).code, 4409);
  t.match(await newer.next(), { type: 'response', id: 1 });
});
