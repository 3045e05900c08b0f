import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { type ClientState, createThreadClient, type ThreadClient, type ThreadClientOptions } from '../src/index.js';
import { pieces } from './resume-server.js';
import { scripted } from './scripted.js';
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

/** The delays are random up to a bound: shows the bound, to the millisecond. */
function stopClocks(t: Test): void {
  const { random } = Math;
  const { now } = Date;
  t.teardown(() => {
    Math.random = random;
    Date.now = now;
  });
  Math.random = () => 1;
  Date.now = () => 0;
}

/** The delays before the next six attempts. */
function sixDelays(client: ThreadClient): Promise<number[]> {
  const delays: number[] = [];
  return new Promise((resolve) => {
    client.on('state', (next) => {
      if (next.status === 'waiting' && next.retryAt !== undefined) delays.push(next.retryAt);
      if (delays.length === 6) resolve(delays);
    });
  });
}

t.test('the client connects again after 1001, 1012 and 1013, and waits longer each time [F-151] [F-152]', async (t) => {
  stopClocks(t);
  for (const code of [1001, 1012, 1013]) {
    const { client, connections } = await closing(t, code);
    t.strictSame(await sixDelays(client), [4, 8, 16, 32, 64, 64], `after ${code}`);
    t.equal(connections(), 6);
    await client.close();
  }
});

t.test('the close code alone decides whether the client reconnects, whatever the reason says [F-48]', async (t) => {
  for (const [code, status] of [
    [1000, 'closed'],
    [1001, 'waiting'],
    [1003, 'waiting'],
    [1008, 'waiting'],
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

t.test('shouldRetry overrules that, too', async (t) => {
  stopClocks(t);
  const { client } = await closing(t, 4408, '', { shouldRetry: () => true });
  t.strictSame(await sixDelays(client), [4, 8, 16, 32, 64, 64]);
});

t.test('a relay that always closes as idle is not asked more often than any other [F-403]', async (t) => {
  stopClocks(t);
  const { client } = await closing(t, 4408);
  client.send('support', 'Hello');
  t.strictSame(await sixDelays(client), [4, 8, 16, 32, 64, 64]);
});

t.test('a message or an end that crosses the idle close is sent on the next connection [F-403]', async (t) => {
  const { server, client } = await scripted(t);
  server.onReady = (ready) => ({ ...ready, ...('reason' in ready && { reason: 'expired', received: 0 }) });
  server.onFrame = (session, frame) => {
    if (frame.type === 'end') session.emit({ type: 'ended', id: frame.id ?? '', agent_id: frame.agent_id });
    else pieces(session, frame, 1);
  };
  for (const say of [() => client.send('support', 'a').result, () => client.end('support')]) {
    await state(client, 'open');
    const { socket } = server.session;
    server.sessions.clear();
    // A relay handles nothing that arrives after its close frame.
    socket?.removeAllListeners('message');
    socket?.close(4408);
    const answered = say();
    await state(client, 'waiting');
    await answered;
  }
  t.equal(server.resumes.length, 3);
});
