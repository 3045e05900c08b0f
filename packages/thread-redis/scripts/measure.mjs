// Measures what docs/scaling.md says about Redis, on a server of its own: the memory of a session with one thread, the commands of
// a node that rests, and those of what clients do. Run it after a build: `node packages/thread-redis/scripts/measure.mjs`. It takes
// half a minute.
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { Client, RedisServer, to } from '@arc/test-client';
import { createRelay } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
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

/** The scripts that the store runs on behalf of a client. Leases are so long that renewals hardly count. */
const scriptsRun = async () => {
  const calls = (await info('commandstats')).matchAll(/^cmdstat_(?:eval|evalsha):calls=(\d+)/gm);
  return [...calls].reduce((sum, [, count]) => sum + Number(count), 0);
};
const agent = await startTestAgent();
const nodes = await Promise.all(
  ['one', 'two'].map(async (name) => {
    const cluster = { store: redisStore(client), node: name, lease: 600_000 };
    const relay = createRelay({ endpoint: agent.endpoint, resume: true, cluster });
    const http = createServer().listen(0, '127.0.0.1');
    http.on('upgrade', (request, socket, head) => relay.handleUpgrade(request, socket, head));
    await once(http, 'listening');
    return { relay, http, url: `ws://127.0.0.1:${http.address().port}` };
  }),
);
const open = async ({ url }, resume) => {
  const opened = await Client.open(url);
  opened.send({ type: 'resume', ...resume });
  return [opened, await opened.next()];
};
const costs = [];
const measured = async (what, act) => {
  const before = await scriptsRun();
  const result = await act();
  // What is written after an answer has been written by then.
  await setTimeout(200);
  costs.push(`${what}: ${(await scriptsRun()) - before}`);
  return result;
};
await setTimeout(500);
const [one, ready] = await measured('a new session', () => open(nodes[0]));
await measured('the first message of a thread', () => one.ask(to('support', 'x', { id: 1 })));
await measured('ten more messages', async () => {
  for (let id = 2; id < 12; id++) await one.ask(to('support', 'x', { id }));
});
const resume = { session: ready.session, seq: 11, sent: 11 };
const [two] = await measured('a move to another node', () => open(nodes[1], resume));
await measured('the end of a thread', () => two.exchange({ type: 'end', agent_id: 'support', id: 12 }));
await measured('the end of a session', () => {
  two.socket.close();
  return two.closed;
});
for (const { relay, http } of nodes) {
  await relay.close();
  http.close();
}
await agent.close();
await client.close();
await server.stop();

const version = `Node ${process.version}`;
process.stdout.write(
  `${Math.round((after - before) / SESSIONS)} bytes for a session with one thread, ${commands / REST_SECONDS} commands a second of a node that rests (${version})\n`,
);
process.stdout.write(`Scripts for ${costs.join(', ')}\n`);
