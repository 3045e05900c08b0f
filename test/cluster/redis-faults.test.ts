import { to, until } from '@arc/test-client';
import t from 'tap';
import { Cluster, type Node } from './cluster.js';

function stateOf(node: Node | undefined): Promise<string | undefined> {
  return (node as Node).report().then(({ stats }) => stats.cluster?.state);
}

function isOk(node: Node | undefined): Promise<void> {
  return until(async () => (await stateOf(node)) === 'ok', 'the node to be in the cluster');
}

for (const persistence of [[], ['--appendonly', 'yes', '--appendfsync', 'always']]) {
  const name = persistence.length === 0 ? 'without persistence' : 'with an append-only file';

  t.test(
    `Redis ${name} is killed and comes back: threads continue, and a node killed later leaves no chat`,
    async (t) => {
      const cluster = await Cluster.start(t, { nodes: 2, lease: 1500, redis: persistence });
      const { agent, redis } = cluster;
      const [one, other] = cluster.nodes;
      const client = await one?.connect();
      t.match(await client?.ask(to('support')), { type: 'response' });
      await redis.kill();
      t.match(await client?.ask(to('support')), { type: 'response' }, 'an open thread continues');
      t.match(await client?.ask(to('hr')), { type: 'error', data: { code: -41002 } }, 'a new one cannot be started');
      await until(async () => (await stateOf(one)) !== 'ok', 'the node to notice');
      await redis.start();
      await isOk(one);
      await isOk(other);
      t.match(await client?.ask(to('hr')), { type: 'response' });
      t.equal(agent.counters.open, 2, 'its chats are not ended');
      const { log } = (await one?.report()) ?? { log: [] };
      const changes = log.flatMap(({ state }) => (state === undefined ? [] : [state]));
      t.same([...changes].slice(0, 1), ['ok']);
      t.notOk(
        changes.some((state, at) => state === changes[at - 1]),
        'each change is logged once',
      );
      await one?.kill();
      await until(() => agent.counters.open === 0, 'the chats to be ended');
      t.same(await cluster.shutDown(), []);
    },
  );
}

t.test('after FLUSHALL all nodes register their sessions again, and a node killed later leaves no chat', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 2 });
  const { agent } = cluster;
  const [one] = cluster.nodes;
  const clients = await Promise.all([1, 2, 3].map(() => (one as Node).connect()));
  for (const client of clients) await client.ask(to('support'));
  await cluster.client.flushall();
  await until(
    async () => (await cluster.client.keys('arc:s:*')).filter((key) => !key.endsWith(':f')).length === 3,
    'them',
  );
  t.equal(agent.counters.ended, 0);
  await one?.kill();
  await until(() => agent.counters.open === 0, 'the chats to be ended');
  t.same(await cluster.shutDown(), []);
});

t.test('a Redis that is full keeps the cluster together: no new threads, no chats ended by mistake', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 2 });
  const { agent } = cluster;
  const [one] = cluster.nodes;
  const client = await one?.connect();
  await client?.ask(to('support'));
  await cluster.client.config('SET', 'maxmemory', '1');
  t.match(await client?.ask(to('hr')), { type: 'error', data: { code: -41002 } });
  t.equal(await stateOf(one), 'degraded');
  t.match(await client?.ask(to('support')), { type: 'response' });
  const renewed = async (): Promise<number> => {
    const [first = ''] = await cluster.client.zrange('arc:nodes', '0', '0');
    return Number(await cluster.client.zscore('arc:nodes', first));
  };
  const before = await renewed();
  await until(
    async () => (await renewed()) > before + cluster.lease,
    'leases to be renewed for longer than one of them',
  );
  t.equal(agent.counters.ended, 0);
  await cluster.client.config('SET', 'maxmemory', '0');
  t.match(await client?.ask(to('hr')), { type: 'response' });
  await isOk(one);
  const { log } = (await one?.report()) ?? { log: [] };
  const changes = log.filter(({ state }) => state !== undefined).map(({ level, state }) => `${level}: ${state}`);
  t.strictSame(changes, ['info: ok', 'warn: degraded', 'info: ok'], 'each change is logged once');
  t.same(await cluster.shutDown(), []);
});

t.test(
  'a Redis that becomes a read-only replica: open threads continue, and nothing is lost when it is one no more',
  async (t) => {
    const cluster = await Cluster.start(t, { nodes: 2, lease: 1500 });
    const { agent } = cluster;
    const [one, other] = cluster.nodes;
    const client = await one?.connect();
    t.match(await client?.ask(to('support')), { type: 'response' });
    // Of a primary that does not exist: it keeps its data, and refuses each write.
    await cluster.client.call('REPLICAOF', '127.0.0.1', '1');
    await until(async () => (await stateOf(one)) === 'away', 'the node to notice');
    t.match(await client?.ask(to('support')), { type: 'response' }, 'an open thread continues');
    t.match(await client?.ask(to('hr')), { type: 'error', data: { code: -41002 } }, 'a new one cannot be started');
    const { log } = (await one?.report()) ?? { log: [] };
    t.match(JSON.stringify(log.find(({ state }) => state === 'away')), /read-only/, 'the log says why');
    await cluster.client.call('REPLICAOF', 'NO', 'ONE');
    await isOk(one);
    await isOk(other);
    t.match(await client?.ask(to('hr')), { type: 'response' });
    t.match(await client?.ask(to('support')), { type: 'response' });
    t.match(agent.counters, { started: 2, ended: 0 });
    await one?.kill();
    await until(() => agent.counters.open === 0, 'the chats to be ended');
    t.same(await cluster.shutDown(), []);
  },
);

t.test('1,000 messages on an open thread send no command to Redis, under MONITOR', async (t) => {
  const cluster = await Cluster.start(t, { nodes: 1, lease: 60_000 });
  const client = await cluster.nodes[0]?.connect();
  await client?.ask(to('support'));
  const monitor = await cluster.client.monitor();
  t.teardown(() => monitor.disconnect());
  const commands: string[] = [];
  const monitored = new Promise<void>((resolve) => {
    monitor.on('monitor', (_time: string, [command = '', argument]: string[]) => {
      if (argument === 'the end') resolve();
      else commands.push(command.toLowerCase());
    });
  });
  const types = new Set<string | undefined>();
  for (let count = 0; count < 1000; count += 1) types.add((await client?.ask(to('support', `message ${count}`)))?.type);
  t.same(types, new Set(['response']));
  await cluster.client.echo('the end');
  await monitored;
  // It listens for what other nodes tell it.
  t.same(new Set(commands.filter((command) => command !== 'xread')), new Set());
});
