// Measures what docs/scaling.md says about Redis, on a server of its own: the memory of a session with one thread, and the
// commands of a node that rests. Run it after a build: `node packages/thread-redis/scripts/measure.mjs`. It takes half a minute.
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { RedisServer } from '@arc/test-client';
import { createRelay } from '@arc/thread-core';
import { redisStore } from '@arc/thread-redis';
import { createClient } from '@redis/client';

const SESSIONS = 5000;
const REST_SECONDS = 20;

const server = await RedisServer.start();
const client = await createClient({ url: server.url })
  .on('error', () => undefined)
  .connect();
const info = (section) => client.sendCommand(['INFO', section]);
const usedMemory = async () => Number(/^used_memory:(\d+)/m.exec(await info('memory'))?.[1]);
/** What the store sends. The commands that its scripts call are not counted. */
const commandsSent = async () => {
  const calls = (await info('commandstats')).matchAll(/^cmdstat_(?:eval|evalsha|xread):calls=(\d+)/gm);
  return [...calls].reduce((sum, [, count]) => sum + Number(count), 0);
};

const store = redisStore(client);
const node = { name: 'node-1', incarnation: randomUUID(), lease: 10_000 };
await store.join(node);
const before = await usedMemory();
for (let index = 0; index < SESSIONS; index++) {
  const sid = randomUUID();
  const secretHash = createHash('sha256').update(sid).digest('hex');
  const owned = await store.open(node, { sid, secretHash, identityKey: `user-${index}`, grace: 120_000 });
  await store.thread(owned, 'support', { agentId: 'support', chatId: randomUUID() });
}
const after = await usedMemory();
await client.sendCommand(['FLUSHALL']);

const relay = createRelay({ endpoint: 'http://127.0.0.1:9/', cluster: { store: redisStore(client) } });
await setTimeout(1000);
const sent = await commandsSent();
await setTimeout(REST_SECONDS * 1000);
const commands = (await commandsSent()) - sent;
await relay.close();
await client.close();
await server.stop();

const version = `Node ${process.version}`;
process.stdout.write(
  `${Math.round((after - before) / SESSIONS)} bytes for a session with one thread, ${commands / REST_SECONDS} commands a second of a node that rests (${version})\n`,
);
