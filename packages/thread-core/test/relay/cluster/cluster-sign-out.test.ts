// Sign-outs of users whose sessions have no node that could hear of it.
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { deferred, to, until } from '../helpers.js';
import { ClusterNode, cluster } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('no sign-out ends the parked sessions of all clients without an identity [S-121]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  for (const { server, relay } of nodes) {
    server.removeAllListeners('connection');
    server.on('connection', (socket, request) => relay.attach(socket, request));
  }
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.relay.close();
  await b.relay.endSessions('');
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
});

t.test('a sign-out ends the sessions of a node that is dead although its lease is still good [S-121]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2, { lease: 600 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const post = store.post.bind(store);
  // It never hears what it is told.
  store.post = (node, message) => (node === 'a' ? Promise.resolve(true) : post(node, message));
  await b.relay.endSessions('me');
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: false });
  await agent.waitFor(({ counters }) => counters.open === 0);
});

t.test(
  'a sign-out ends a parked session, although nothing is reaped for a lease after a failover [S-121]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    await a.relay.close();
    const reapOne = store.reapOne.bind(store);
    store.reapOne = () => Promise.resolve(undefined);
    await b.relay.endSessions('me');
    store.reapOne = reapOne;
    const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: false });
    await agent.waitFor(({ counters }) => counters.open === 0);
  },
);

for (const isBack of [false, true]) {
  const when = isBack ? 'when only its own node is back' : 'before any node is back';
  t.test(`a sign-out right after a loss of data reaches all nodes, ${when} [S-173]`, async (t) => {
    const { agent, store, nodes } = await cluster(t, 2, { lease: 1500 });
    const [a, b] = nodes as Pair;
    const [client] = await b.resume();
    await client.ask(to('support', 'x', { id: 1 }));
    const back = deferred();
    b.gates.renew = back.promise;
    store.lose();
    if (isBack) await until(async () => (await store.nodes()).includes('a'), 'its own node to be back');
    await a.relay.endSessions('me');
    back.resolve();
    t.equal((await client.closed).code, 4401);
    await agent.waitFor('idle');
  });
}

t.test('a sign-out that a node hears of later ends nothing that its user has begun since [S-175]', async (t) => {
  // No node of the cluster is older than its lease, as in a rolling restart.
  const { agent, store, nodes } = await cluster(t, 1, { lease: 1500 });
  const [a] = nodes as [ClusterNode];
  await a.relay.endSessions('me');
  const b = new ClusterNode(store, agent, { node: 'b', lease: 1500 });
  t.teardown(() => b.close());
  await until(() => b.state === 'ok', 'the node to join');
  const [client] = await b.resume();
  await client.ask(to('support', 'x', { id: 1 }));
  await pause(1700);
  t.match(await client.ask(to('support', 'y', { id: 2 })), { type: 'response' });
});
