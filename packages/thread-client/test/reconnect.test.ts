import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { type ClientState, createThreadClient, type ThreadClientOptions } from '../src/index.js';
import { state } from './world.js';

/** A server that closes each connection as it likes, and a client of it. */
async function closing(t: Test, code: number, reason = '', options: Partial<ThreadClientOptions> = {}) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  let connections = 0;
  server.on('connection', (socket) => {
    connections += 1;
    socket.close(code, reason);
  });
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const client = createThreadClient({ url, WebSocket, backoff: { min: 4, max: 64 }, ...options });
  t.teardown(async () => {
    await client.close();
    server.close();
  });
  return { client, connections: () => connections };
}

t.test('the client connects again after 1001, 1012 and 1013, and waits longer each time [F-151] [F-152]', async (t) => {
  const { random } = Math;
  const { now } = Date;
  t.teardown(() => {
    Math.random = random;
    Date.now = now;
  });
  // The delays are random up to a bound: this shows the bound, to the millisecond.
  Math.random = () => 1;
  Date.now = () => 0;
  for (const code of [1001, 1012, 1013]) {
    const { client, connections } = await closing(t, code);
    const delays: number[] = [];
    await new Promise<void>((resolve) => {
      client.on('state', (next) => {
        if (next.status === 'waiting' && next.retryAt !== undefined) delays.push(next.retryAt);
        if (delays.length === 6) resolve();
      });
    });
    t.strictSame(delays, [4, 8, 16, 32, 64, 64], `after ${code}`);
    t.equal(connections(), 6);
    await client.close();
  }
});

t.test('the close code alone decides whether the client reconnects, whatever the reason says [F-48]', async (t) => {
  for (const [code, status] of [
    [1000, 'closed'],
    [1001, 'waiting'],
    [1003, 'waiting'],
    [1008, 'closed'],
    [1011, 'waiting'],
    [4401, 'closed'],
    [4403, 'closed'],
    [4409, 'closed'],
    [4429, 'waiting'],
  ] as const) {
    for (const reason of ['', 'Never come back', 'Try again', '4401', '1001']) {
      const { client } = await closing(t, code, reason, { backoff: { min: 60_000 } });
      const ended = await new Promise<ClientState>((resolve) => {
        client.on('state', (next) => next.status !== 'connecting' && resolve(next));
      });
      t.equal(ended.status, status, `${code}, ${reason}`);
      await client.close();
    }
  }
});

t.test('closed for being idle, the client waits until it has something to say', async (t) => {
  const { client, connections } = await closing(t, 4408);
  t.match(await state(client, 'waiting'), { code: 4408, retryAt: undefined });
  const before = connections();
  client.send('support', 'Hello');
  t.equal(client.state.status, 'connecting');
  await state(client, 'waiting');
  t.equal(connections(), before + 1);
});
