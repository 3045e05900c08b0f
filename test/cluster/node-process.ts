// One node of a cluster: a relay behind a WebSocket server. Its first argument has its settings.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createRelay } from '@arc/thread-core';
import { redisStore } from '@arc/thread-redis';
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';

interface NodeOptions {
  endpoint: string;
  redis: string;
  lease: number;
  node?: string;
  cleanupTimeout: number;
  grace?: number;
  heartbeat?: number;
}

const options = JSON.parse(process.argv[2] as string) as NodeOptions;
const { endpoint, redis, lease, node, cleanupTimeout, grace, heartbeat } = options;
// While Redis loads its data, ioredis would wait for up to 10 seconds.
const client = new Redis(redis, { retryStrategy: () => 50, maxLoadingRetryTime: 50 });
client.on('error', () => undefined);

const log: unknown[] = [];
const write =
  (level: string) =>
  (about: object, message: string): void => {
    const { err } = about as { err?: Error };
    log.push({ at: Date.now(), level, message, ...about, err: err?.stack });
  };
const store = redisStore(client, { timeout: Math.max(500, lease) });
let renewals = 0;
const renew = store.renew.bind(store);
store.renew = async (...args) => {
  const renewal = await renew(...args);
  renewals += 1;
  return renewal;
};
const relay = createRelay({
  endpoint,
  cleanupTimeout,
  heartbeat,
  resume: grace === undefined ? undefined : { grace },
  cluster: { store, lease, node },
  logger: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
});
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...relay.wsOptions });
server.on('connection', (socket, request) => relay.attach(socket, request, { identity: 'user' }));
await once(server, 'listening');

// A log may be long: whoever looks at the numbers again and again does not get it.
process.on('message', (asked) =>
  process.send?.({ stats: relay.stats(), renewals, log: asked === 'report' ? log : [] }),
);
process.once('SIGTERM', async () => {
  server.close();
  await relay.close();
  client.disconnect();
  process.disconnect();
});
// It must not outlive the test.
process.once('disconnect', () => setTimeout(() => process.exit(), 1000).unref());
process.send?.({ url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}` });
