// Races that need a process that is frozen, or a Redis that comes back with less than it had.
import { CuttingProxy, until } from '@arc/test-client';
import { createThreadClient, type ThreadClient } from '@arc/thread-client';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { Cluster, type Node } from './cluster.js';

/** A client that connects to whichever node `at` says. */
function connect(t: Test, at: () => string): ThreadClient {
  const client = createThreadClient({ url: at, backoff: { min: 10, max: 100 }, WebSocket });
  t.teardown(() => client.close());
  return client;
}

/** What the agent answers: how many messages its chat has had. */
function say(client: ThreadClient, text: string): Promise<string> {
  return client.send('support', text).text();
}

t.test(
  'after a failover that lost the last writes all conversations continue, and nothing is left [S-85]',
  async (t) => {
    const cluster = await Cluster.start(t, { nodes: 2, grace: 60_000, lease: 1000 });
    const { agent, redis } = cluster;
    const [one, two] = cluster.nodes as [Node, Node];
    let node = one;
    const ended = connect(t, () => two.url);
    t.equal(await say(ended, 'b'), 'support #1: b');
    const [endedKey = ''] = await cluster.client.keys('arc:s:*');
    const moved = connect(t, () => node.url);
    t.equal(await say(moved, 'a'), 'support #1: a');
    await cluster.client.save();
    t.equal(await cluster.client.exists(endedKey), 1, 'what is saved has the session that ends');
    // What happens now is lost: a session is opened, another one moves to the other node, and a third one ends.
    const opened = connect(t, () => two.url);
    t.equal(await say(opened, 'c'), 'support #1: c');
    node = two;
    await cluster.remove(one, 'SIGTERM');
    t.equal(await say(moved, 'd'), 'support #2: d');
    await ended.close();
    await until(() => agent.counters.ended === 1, 'the third session to end');
    await redis.kill();
    await redis.start();
    const three = await cluster.add();
    await until(() => two.isOk(), 'the owner to be in the cluster again');
    t.equal(await say(opened, 'e'), 'support #2: e');
    t.equal(await say(moved, 'f'), 'support #3: f');
    const exists = async (): Promise<boolean> => (await cluster.client.exists(endedKey)) === 1;
    await until(async () => !(await exists()), 'the session that had ended to be removed again');
    node = three;
    await cluster.remove(two, 'SIGKILL');
    t.equal(await say(moved, 'g').catch(() => say(moved, 'g')), 'support #4: g');
    t.equal(agent.counters.started, 3, 'no chat was started again');
    t.equal(agent.counters.open, 2);
    await moved.close();
    await until(() => agent.counters.open === 1, 'the chat to be ended');
  },
);

t.test('a node that is frozen for less than its lease gives the session away when it runs again [S-68]', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 2, grace: 60_000, lease: 20_000 });
  const { agent } = cluster;
  const [one, two] = cluster.nodes as [Node, Node];
  const proxy = await CuttingProxy.start(() => (one.isFrozen ? two : one).port);
  t.teardown(() => proxy.close());
  const client = connect(t, () => proxy.url);
  t.equal(await say(client, 'a'), 'support #1: a');
  const resuming = new Promise<void>((resolve) => {
    client.on('state', ({ status }) => status === 'resuming' && resolve());
  });
  one.freeze();
  proxy.abandon(one.port);
  await resuming;
  const asked = async (): Promise<boolean> => {
    const [inbox = ''] = await cluster.client.keys(`arc:in:*:${one.name}`);
    return inbox !== '' && (await cluster.client.xlen(inbox)) > 0;
  };
  await until(asked, 'the other node to ask for the session');
  t.match((await two.report()).stats, { cluster: { claimed: 0 } });
  one.thaw();
  t.equal(await say(client, 'b'), 'support #2: b');
  t.match((await two.report()).stats, { sessions: 1, cluster: { claimed: 1 } });
  t.match((await one.report()).stats, { sessions: 0, cluster: { handedOver: 1 } });
  t.equal(agent.counters.started, 1);
});
