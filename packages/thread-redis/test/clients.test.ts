import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, RedisServer, until, withDeadline } from '@arc/test-client';
import type { JsonValue } from '@arc/thread-core';
import { createClientPool, createCluster, createSentinel } from '@redis/client';
import { createCluster as createCluster5 } from '@redis/client5';
import { Cluster, Redis } from 'ioredis';
import { Cluster as Cluster5 } from 'ioredis5';
import t from 'tap';
import { type RedisClient, redisStore } from '../src/index.js';
import { clients } from './clients.js';

const node = { name: 'a', incarnation: randomUUID(), lease: 10_000 };

t.test('a client for Redis Cluster is refused by name', async (t) => {
  const rootNodes = [{ url: 'redis://127.0.0.1:1' }];
  const startup = [{ host: '127.0.0.1', port: 1 }];
  for (const client of [
    createCluster({ rootNodes }),
    createCluster5({ rootNodes }),
    new Cluster(startup, { lazyConnect: true }),
    new Cluster5(startup, { lazyConnect: true }),
  ]) {
    t.throws(() => redisStore(client as unknown as RedisClient), {
      name: 'TypeError',
      message: /^client: is a client for Redis Cluster/,
    });
  }
});

t.test('what is no client, and a pool, is refused', async (t) => {
  for (const client of [undefined, null, {}, 'redis://localhost', createClientPool()]) {
    t.throws(() => redisStore(client as RedisClient), { name: 'TypeError', message: /^client: must be a client of/ });
  }
});

t.test('wrong options and nodes are refused by name', async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const { client, close } = await (clients['ioredis 6'] as (typeof clients)[string])(server.url);
  t.teardown(close);
  t.throws(() => redisStore(client, { timeout: 0 }), { message: /^timeout:/ });
  t.throws(() => redisStore(client, { prefix: 1 as unknown as string }), { message: /^prefix:/ });
  const store = redisStore(client);
  await t.rejects(store.join({ ...node, name: '' }), { name: 'TypeError', message: /^node.name:/ });
  await t.rejects(store.join({ ...node, incarnation: 'a:b' }), { name: 'TypeError', message: /^node.incarnation:/ });
});

t.test('a server that runs as Redis Cluster is refused when a node joins', async (t) => {
  const server = await RedisServer.start('--cluster-enabled', 'yes');
  t.teardown(() => server.stop());
  const { client, close } = await (clients['node-redis 6'] as (typeof clients)[string])(server.url);
  t.teardown(close);
  await t.rejects(redisStore(client).join(node), { name: 'StoreError', code: 'failed', message: /Redis Cluster/ });
});

t.test('a server that would evict sessions is refused when a node joins', async (t) => {
  const server = await RedisServer.start('--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru');
  t.teardown(() => server.stop());
  const { client, command, close } = await (clients['ioredis 6'] as (typeof clients)[string])(server.url);
  t.teardown(close);
  await t.rejects(redisStore(client).join(node), { name: 'StoreError', message: /noeviction, not allkeys-lru/ });
  await command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  t.equal((await redisStore(client).join(node)).fenced, false);
});

t.test('two clusters share a server when their prefixes differ', async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const { client, command, close } = await (clients['ioredis 6'] as (typeof clients)[string])(server.url);
  t.teardown(close);
  const [one, other] = [redisStore(client, { prefix: 'one:' }), redisStore(client, { prefix: 'other:' })];
  await one.join(node);
  await other.join(node);
  await one.open(node, { sid: 's1', grace: 1000 });
  t.same(await other.sessionsOn(node), []);
  t.same(await one.sessionsOn(node), ['s1']);
  for (const key of (await command('KEYS', '*')) as string[]) t.match(key, /^(one|other):/);
});

t.test('clients that find the primary by Sentinel work, inboxes included', async (t) => {
  const server = await RedisServer.start();
  t.teardown(() => server.stop());
  const [port, folder] = [await freePort(), await mkdtemp(join(tmpdir(), 'arc-sentinel-'))];
  const file = join(folder, 'sentinel.conf');
  await writeFile(
    file,
    `port ${port}\nbind 127.0.0.1\ndir ${folder}\nsentinel monitor main 127.0.0.1 ${server.port} 1\n`,
  );
  const program = process.env.REDIS_SERVER_PATH || 'redis-server';
  const sentinel = spawn(program, [file, '--sentinel'], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.teardown(async () => {
    sentinel.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  });
  for await (const output of sentinel.stdout) if (String(output).includes('+monitor')) break;

  const byNodeRedis = createSentinel({ name: 'main', sentinelRootNodes: [{ host: '127.0.0.1', port }] });
  byNodeRedis.on('error', () => undefined);
  await byNodeRedis.connect();
  const byIoRedis = new Redis({ name: 'main', sentinels: [{ host: '127.0.0.1', port }] });
  for (const [name, client] of Object.entries({ byNodeRedis, byIoRedis })) {
    const store = redisStore(client);
    const joined = { name, incarnation: randomUUID(), lease: 10_000 };
    await store.join(joined);
    const message = new Promise<JsonValue>(
      (resolve) => void store.onPost(joined, resolve).then((stop) => t.teardown(stop)),
    );
    t.equal(await store.post(name, 'hello'), true);
    t.equal(await message, 'hello');
  }
  t.teardown(async () => {
    byIoRedis.disconnect();
    await byNodeRedis.destroy();
  });
});

for (const name of Object.keys(clients)) {
  t.test(`${name}: a process exits by itself as soon as the inbox and the client are closed`, async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const { client, command, close } = await (clients[name] as (typeof clients)[string])(server.url);
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const stop = await redisStore(client).onPost(node, () => undefined);
    await until(async () => /cmd=xread/.test(String(await command('CLIENT', 'LIST'))), 'the inbox to be read');
    await stop();
    // Until Redis has closed the connection, there may be one that would cut it.
    await until(() => timers() <= before, 'no timer to be left', 1000);
    await close();
  });
}

/** Connections of this process, those of other tests included. */
const openSockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;

for (const name of Object.keys(clients)) {
  t.test(`${name}: an inbox can be closed while Redis is away`, async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const { client, command, close } = await (clients[name] as (typeof clients)[string])(server.url, 2000);
    t.teardown(close);
    const stop = await redisStore(client).onPost(node, () => undefined);
    await until(async () => /cmd=xread/.test(String(await command('CLIENT', 'LIST'))), 'the inbox to be read');
    await server.kill();
    // Both connections are lost by then, and wait for their next attempts.
    await until(() => openSockets() === 0, 'the connections to be lost');
    await withDeadline(stop(), 'the inbox to be closed', 5000);
  });
}
