// One node of a cluster with resumable sessions. Its first argument has its settings.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createRelay } from '@arc/thread-core';
import { redisStore } from '@arc/thread-redis';
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';

const { endpoint, redis, lease } = JSON.parse(process.argv[2] as string) as {
  endpoint: string;
  redis: string;
  lease: number;
};
const client = new Redis(redis, { retryStrategy: () => 50, maxLoadingRetryTime: 50 });
client.on('error', () => undefined);
const relay = createRelay({ endpoint, resume: { grace: 10_000 }, cluster: { store: redisStore(client), lease } });
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...relay.wsOptions });
server.on('connection', (socket, request) => relay.attach(socket, request, { identity: 'user' }));
await once(server, 'listening');

process.on('message', () => process.send?.(relay.stats()));
process.once('SIGTERM', async () => {
  server.close();
  await relay.close();
  client.disconnect();
  process.disconnect();
});
// It must not outlive the test.
process.once('disconnect', () => setTimeout(() => process.exit(), 1000).unref());
const joined = setInterval(() => {
  if (relay.stats().cluster?.state !== 'ok') return;
  clearInterval(joined);
  process.send?.({ url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}` });
}, 10);
