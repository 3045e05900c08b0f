import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { redisStore } from '@arc/thread-redis';
import { createClient } from '@redis/client';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function main(): Promise<void> {
  const port = await freePort();
  const redis = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '']);
  try {
    const client = createClient({ url: `redis://127.0.0.1:${port}` });
    client.on('error', () => {});
    await client.connect();
    const node = { name: 'a', incarnation: 'b', lease: 10_000 };
    const store = redisStore(client);
    await store.join(node);
    await store.leave(node);
    await client.close();
  } finally {
    redis.kill();
  }
}

void main();
