// One node of the cluster: the page and the relay, as in examples/ws. Its first argument has its settings.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRelay } from '@arc/thread-core';
import { redisStore } from '@arc/thread-redis';
import { closeServer, pageAssets } from '@arc-examples/web';
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';
import type { NodeOptions, NodeReport } from './supervisor.js';

const { name, redis, endpoint, token, allowedHosts, agents, stream } = JSON.parse(
  process.argv[2] as string,
) as NodeOptions;
const asset = pageAssets({ agents, stream, nodes: true });

// A Redis that loads its data is asked again soon: by default ioredis waits for up to 10 seconds, longer than the lease.
const client = new Redis(redis, { maxLoadingRetryTime: 500 });
client.on('error', () => undefined);

const server = createServer((req, res) => {
  const found = asset(req.url ?? '/');
  if (found === undefined) res.writeHead(404).end();
  else res.writeHead(200, found.headers).end(found.body);
});

const relay = createRelay({
  endpoint,
  token,
  allowedHosts,
  agents,
  stream,
  resume: true,
  // A short lease, so that there is little to wait for when a node is killed.
  cluster: { store: redisStore(client), node: name, lease: 3000 },
});

const sockets = new WebSocketServer({ server, path: '/ws', ...relay.wsOptions });
sockets.on('connection', (socket, request) => relay.attach(socket, request));
server.listen(0, '127.0.0.1');
await once(server, 'listening');

function report(): void {
  const { port } = server.address() as AddressInfo;
  process.send?.({ port, sessions: relay.stats().sessions } satisfies NodeReport);
}
const reports = setInterval(report, 500);
report();

// Ctrl-C reaches the whole group: the supervisor decides.
process.on('SIGINT', () => undefined);
process.once('disconnect', () => process.exit());
process.once('SIGTERM', async () => {
  clearInterval(reports);
  await relay.close();
  await closeServer(server);
  client.disconnect();
  process.exit();
});
