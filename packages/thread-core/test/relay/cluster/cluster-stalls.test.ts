// What one session, one agent or the store may not delay: renewals, other sessions, and a shutdown.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { mock } from 'node:test';
import { setImmediate as endOfTurn, setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { StoreError } from '../../../src/index.js';
import { JournalSpill } from '../../../src/relay/resume/journal-spill.js';
import { ResumableSessions } from '../../../src/relay/resume/resumable-sessions.js';
import { Client, deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls, type Ready } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('a renewal does not wait for an agent that is slow to end chats [S-116]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2, { lease: 300, cleanupTimeout: 30_000 });
  const [a] = nodes as Pair;
  const [keeper] = await a.resume();
  await keeper.ask(to('hr', 'x', { id: 1 }));
  const [leaver] = await a.resume();
  await leaver.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  leaver.socket.close(1000);
  await until(() => a.relay.stats().sessions === 1, 'the session to end');
  const gate = agent.hold('chat.end');
  a.isCutOff = false;
  await gate.arrived;
  const renewals = countCalls(a, 'renew');
  await until(() => renewals.count > 5, 'the lease to be renewed several times', 10_000);
  t.ok((await store.nodes()).includes('a'));
  t.match(await keeper.ask(to('hr', 'y', { id: 2 })), { type: 'response' });
  gate.release();
  await agent.waitFor(({ counters }) => counters.ended === 1);
});

t.test('an agent that is slow to end chats holds up none of other agents [S-116]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 50 }, cleanupTimeout: 30_000 });
  const [a] = nodes as Pair;
  const [slow] = await a.resume();
  await slow.ask(to('slow', 'x', { id: 1 }));
  for (let index = 0; index < 60; index += 1) {
    const [client] = await a.resume();
    await client.ask(to('support', 'x', { id: 1 }));
  }
  const isOfSlow = ({ body }: { body: string }): boolean => body.includes('chat.end') && body.includes('"slow"');
  const gate = agent.hold(isOfSlow as never);
  a.isCutOff = true;
  await gate.arrived;
  await agent.waitFor(({ counters }) => counters.ended === 60);
  gate.release();
  await agent.waitFor('idle');
});

/** A detached session whose agent streams faster than the store takes frames, until `end` is called. */
async function withFastStream(t: Test) {
  const all = await cluster(t, 2, { lease: 300 });
  const { agent, store, nodes } = all;
  const [a, b] = nodes as Pair;
  let isDone = false;
  agent.script('chat.start', async function* () {
    while (!isDone) {
      yield '.';
      await pause(1);
    }
  });
  const append = store.append.bind(store);
  store.append = async (...args) => {
    await pause(30);
    return append(...args);
  };
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  await first.all(3);
  await a.dropAll();
  await until(async () => (await store.read(session.split('.')[0] as string, 0)) !== undefined, 'frames to be stored');
  const end = async (): Promise<void> => {
    isDone = true;
    await until(() => a.relay.stats().pending === 0, 'the stream to end');
  };
  return { store, a, b, session, end };
}

t.test('a renewal does not wait for a stream that is faster than the store [S-117]', async (t) => {
  const { store, a, end } = await withFastStream(t);
  const [keeper] = await a.resume();
  await keeper.ask(to('hr', 'x', { id: 1 }));
  const thread = store.thread.bind(store);
  let failures = 0;
  store.thread = async (...args) => {
    failures += 1;
    if (failures === 1) throw new StoreError('failed', 'once');
    return thread(...args);
  };
  // What could not be written is written with the next renewal, and so are the frames.
  keeper.send({ type: 'end', id: 5, agent_id: 'hr' });
  await until(() => failures === 1, 'a write to fail');
  const renewals = countCalls(a, 'renew');
  await until(() => renewals.count > 5, 'the lease to be renewed several times', 10_000);
  t.ok((await store.nodes()).includes('a'));
  await end();
});

t.test('a client gets its session at another node while a stream is faster than the store [S-117]', async (t) => {
  const { b, session, end } = await withFastStream(t);
  const [, ready] = await b.resume({ session, seq: 3, sent: 1 });
  t.match(ready, { resumed: true });
  await end();
});

t.test(
  'a client that comes back while its frames are written for another node leaves nothing running [S-117]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 30_000 });
    const [a, b] = nodes as Pair;
    const gate = deferred();
    agent.script('chat.start', async function* () {
      for (let index = 0; index < 1500; index += 1) yield '.';
      await gate.promise;
    });
    const [first, { session }] = await a.resume();
    first.send(to('support', 'x', { id: 1, stream: true }));
    await first.all(1500);
    const write = mock.method(JournalSpill.prototype, 'write');
    t.teardown(() => write.mock.restore());
    const [asked, writing] = [deferred(), deferred()];
    a.gates.append = writing.promise;
    a.onCall = (name) => {
      if (name === 'append') asked.resolve();
    };
    const impatient = await b.connect();
    impatient.send({ type: 'resume', session, seq: 0, sent: 1 });
    await asked.promise;
    impatient.socket.terminate();
    const [second, ready] = await a.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true });
    await second.all(1500);
    writing.resolve();
    await endOfTurn();
    const before = write.mock.callCount();
    for (let turn = 0; turn < 20; turn += 1) await endOfTurn();
    t.equal(write.mock.callCount(), before, 'nothing is tried again in each turn');
    second.send({ type: 'ack', seq: 1500 });
    gate.resolve();
    t.match(await second.next(), { type: 'done' });
  },
);

t.test('a session with many writes does not hold up a shutdown while the store is away [S-120]', async (t) => {
  const { nodes, store } = await cluster(t, 1, { lease: 10_000, cleanupTimeout: 200 });
  const [a] = nodes as [ClusterNode];
  const [client] = await a.resume();
  const count = 20;
  for (let id = 1; id <= count; id += 1) await client.ask(to(`agent-${id}`, 'x', { id }));
  const away = deferred();
  const never = away.promise.then(() => Promise.reject(new StoreError('away', 'no answer')));
  never.catch(() => undefined);
  for (const name of ['thread', 'park', 'renew', 'leave', 'close', 'reap', 'append', 'trim', 'open'] as const)
    a.gates[name] = never;
  for (let id = 1; id <= count; id += 1) client.send({ type: 'end', id: 100 + id, agent_id: `agent-${id}` });
  await client.all(count);
  // Each write would wait for an answer that does not come while this node is there.
  t.match(await a.relay.close({ timeout: 100 }), { sessions: 1 });
  away.resolve();
  for (const name of Object.keys(a.gates)) delete a.gates[name as keyof typeof a.gates];
  t.same(await store.nodes(), ['a'], 'it could not leave');
});

t.test('a shutdown does not wait for the owner of a session that does not answer [S-120]', async (t) => {
  const { nodes } = await cluster(t, 2, { lease: 60_000, cleanupTimeout: 200 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const [asked, handover] = [deferred(), deferred()];
  a.gates.handover = handover.promise;
  a.onCall = (name) => {
    if (name === 'handover') asked.resolve();
  };
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  await asked.promise;
  let isClosed = false;
  void b.relay.close({ timeout: 0 }).then(() => {
    isClosed = true;
  });
  // The question is awaited for a lease otherwise.
  await until(() => isClosed, 'the relay to be closed', 20_000);
  handover.resolve();
});

t.test('a shutdown does not wait for a store that never answers what it was asked last [S-120]', async (t) => {
  const { nodes, store } = await cluster(t, 1, { lease: 60_000, cleanupTimeout: 200, resume: false });
  const [a] = nodes as [ClusterNode];
  const client = await a.connect();
  await client.ask(to('support', 'x', { id: 1 }));
  const answer = deferred();
  a.gates.close = answer.promise;
  t.match(await a.relay.close({ timeout: 0 }), { sessions: 1, ended: 1 });
  t.same(await store.nodes(), [], 'it has left all the same');
  answer.resolve();
});

t.test('what waits in a session moves although an agent has used all of the time of a shutdown [S-57]', async (t) => {
  const { agent, nodes, store } = await cluster(t, 2, { lease: 2000, cleanupTimeout: 300 });
  const [a, b] = nodes as Pair;
  const park = store.park.bind(store);
  store.park = async (...args) => {
    // As long as a store on the network takes.
    await pause(10);
    await park(...args);
  };
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const start = agent.hold('chat.start');
  const end = agent.hold('chat.end');
  first.send(to('hr', 'x', { id: 2 }), to('hr', 'y', { id: 3 }));
  await start.arrived;
  const closing = a.relay.close({ timeout: 100 });
  t.match(await first.next(), { type: 'cancelled', id: 2 });
  start.release();
  await closing;
  end.release();
  const [, ready] = await b.resume({ session, seq: 2, sent: 3 });
  t.match(ready, { resumed: true, pending: [3] });
});

t.test('a session that comes to wait twice counts once [S-126]', async (t) => {
  const resumption = { identityKey: 'me', secretHash: '', got: 0, address: '' };
  const session = { id: 'a', resumption, keptBytes: 1, evict: () => t.fail('it was ended') };
  const sessions = new ResumableSessions<typeof session>({ maxDetached: 1, maxDetachedBytes: 10 } as never);
  sessions.add(session);
  sessions.countDetached(session);
  sessions.countDetached(session);
  t.equal(sessions.detachedCount, 1);
  sessions.uncountDetached(session);
  t.equal(sessions.detachedCount, 0);
});

t.test('a session that moves to its client is not ended to make room for those that wait [S-126]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { maxDetached: 1 }, lease: 2000 });
  const [a, b] = nodes as Pair;
  for (const { server, relay } of nodes) {
    server.removeAllListeners('connection');
    server.on('connection', (socket, request) => relay.attach(socket, request, { identity: request.url }));
  }
  const connect = async ({ server }: ClusterNode, user: string): Promise<Client> => {
    const client = new Client(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/${user}`);
    await once(client.socket, 'open');
    return client;
  };
  const other = await connect(b, 'other');
  other.send({ type: 'resume' });
  await other.next();
  await other.ask(to('hr', 'x', { id: 1 }));
  await b.dropAll();
  await until(() => b.relay.stats().detached === 1, 'the other session to wait');
  const first = await connect(a, 'me');
  first.send({ type: 'resume' });
  const { session } = (await first.next()) as Ready;
  await first.ask(to('support', 'x', { id: 1 }));
  const second = await connect(b, 'me');
  second.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.match(await second.next(), { resumed: true });
  await endOfTurn();
  t.equal(agent.counters.ended, 0);
});
