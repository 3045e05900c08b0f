// Clients that come to a node just before it closes.
import t from 'tap';
import type { SessionStore } from '../../../src/index.js';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

/** Resolves when a node asks its store for something. What it asks for waits until `release`. */
function holdCall(node: ClusterNode, name: keyof SessionStore): { asked: Promise<void>; release(): void } {
  const [asked, answering] = [deferred(), deferred()];
  node.onCall = (called) => {
    if (called !== name) return;
    node.gates[name] = answering.promise;
    asked.resolve();
  };
  return { asked: asked.promise, release: () => answering.resolve() };
}

t.test('a client whose session comes to a node that has begun to close is not served there [S-141]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  // Something runs at the node that closes, and ends long before `drainTimeout`.
  const { gate } = await holdStart(agent, b);
  const claim = holdCall(b, 'claim');
  const second = await b.connect();
  second.send({ type: 'resume', session, seq: 1, sent: 1 });
  await claim.asked;
  const closing = b.relay.close({ timeout: 30_000 });
  claim.release();
  t.equal((await second.closed).code, 1012, 'what it sent would be cancelled when the others have left');
  const [third, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
  t.match(await third.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  gate.release();
  await closing;
});

t.test('a client whose new session a node registers when that begins to close gets none [S-141]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [, b] = nodes as Pair;
  const { gate } = await holdStart(agent, b);
  const open = holdCall(b, 'open');
  const client = await b.connect();
  client.send({ type: 'resume' });
  await open.asked;
  const closing = b.relay.close({ timeout: 30_000 });
  open.release();
  t.equal((await client.closed).code, 1012);
  gate.release();
  await closing;
});

t.test('a client that asks a node for a session when that has begun to close gets none [S-141]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [, b] = nodes as Pair;
  const { gate } = await holdStart(agent, b);
  const client = await b.connect();
  const closing = b.relay.close({ timeout: 30_000 });
  client.send({ type: 'resume' });
  t.equal((await client.closed).code, 1012);
  gate.release();
  await closing;
});

t.test(
  'a frame that was lost before a session was given to a node that has closed is sent again [S-142]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 3, { lease: 10_000 });
    const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    await a.dropAll();
    const handover = holdCall(a, 'handover');
    const leave = holdCall(b, 'leave');
    const second = await b.connect();
    second.send({ type: 'resume', session, seq: 1, sent: 2 });
    await handover.asked;
    await b.relay.close({ timeout: 0 });
    await leave.asked;
    handover.release();
    await until(() => a.relay.stats().sessions === 0, 'the session to be given');
    leave.release();
    const [third, ready] = await c.resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, got: 1 }, 'the second message has not arrived');
    t.match(await third.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
    t.equal(agent.counters.started, 1);
  },
);
