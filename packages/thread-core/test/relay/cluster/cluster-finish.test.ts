// Sends that end after their session has ended: `onDisconnect: 'finish'` in a cluster.
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('no other node ends a chat whose agent finishes when the grace of its session is over [S-169]', async (t) => {
  const told: unknown[] = [];
  const { agent, nodes } = await cluster(t, 2, {
    lease: 200,
    cleanupTimeout: 100,
    resume: { grace: 50, maxBufferedBytes: 1000 },
    onDisconnect: 'finish',
    hooks: { onSend: (_session, { state }) => void told.push(state) },
  });
  const [a, b] = nodes as Pair;
  const gate = deferred();
  agent.script('chat.start', async function* () {
    // Much more than the session keeps.
    for (let piece = 0; piece < 100; piece += 1) yield 'x'.repeat(10_000);
    await gate.promise;
    yield 'the end';
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  await first.next();
  await a.dropAll();
  // Longer than the grace, and than the time after which other nodes end what is marked as expired.
  await pause(1200);
  t.equal(agent.counters.ended, 0);
  t.match((await b.resume({ session, seq: 1, sent: 1 }))[1], { resumed: false, reason: 'expired' });
  gate.resolve();
  await until(() => told.length > 0, 'the send to end');
  t.strictSame(told, ['done']);
  await agent.waitFor('idle');
});

t.test('a node that closes lets sends end of a session whose client has left [S-170]', async (t) => {
  const told: unknown[] = [];
  const { agent, nodes } = await cluster(t, 1, {
    onDisconnect: 'finish',
    hooks: { onSend: (_session, { state }) => void told.push(state) },
  });
  const [a] = nodes as [ClusterNode];
  const { first, gate } = await holdStart(agent, a);
  first.socket.close(1000);
  await first.closed;
  const closing = a.relay.close({ timeout: 30_000 });
  await pause(50);
  gate.release();
  await closing;
  t.strictSame(told, ['response']);
  await agent.waitFor('idle');
});

t.test('a session whose agent finishes is not resumed, however many others have ended since [S-176]', async (t) => {
  const { agent, nodes } = await cluster(t, 1, {
    lease: 10_000,
    resume: { grace: 50 },
    onDisconnect: 'finish',
    maxSessions: 2000,
  });
  const [a] = nodes as [ClusterNode];
  const { session, gate } = await holdStart(agent, a);
  const [local] = a.relay.sessions;
  await a.dropAll();
  await until(() => a.relay.resumables?.has(local?.id ?? '') === false, 'the grace to be over');
  for (let ended = 0; ended < 1050; ended += 50) {
    const others = await Promise.all(Array.from({ length: 50 }, () => a.resume()));
    for (const other of a.relay.sessions) if (other !== local) other.close();
    await Promise.all(others.map(([client]) => client.closed));
  }
  t.match((await a.resume({ session, seq: 0, sent: 1 }))[1], { resumed: false, reason: 'expired' });
  gate.release();
  await agent.waitFor('idle');
});
