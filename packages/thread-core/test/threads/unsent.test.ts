import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import t, { type Test } from 'tap';
import { Agent, ProxyAgent } from 'undici';
import { ArcClient, type ArcClientOptions } from '../../src/client/arc-client.js';
import type { ChatOutcome } from '../../src/threads/ending.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { dispatch, say, settled } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

async function listen<T extends Server | TcpServer>(t: Test, server: T): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A port whose connections are reset as soon as the client has begun its TLS handshake. */
async function resettingPort(t: Test, counts: { connections: number }): Promise<number> {
  const server = createTcpServer((socket) => {
    counts.connections += 1;
    socket.on('error', () => {});
    socket.once('data', () => socket.resetAndDestroy());
  });
  return listen(t, server);
}

/** A proxy that refuses each tunnel. */
async function refusingProxy(t: Test, counts: { connections: number }): Promise<number> {
  const server = createServer();
  server.on('connect', (_request, socket) => {
    counts.connections += 1;
    socket.on('error', () => {});
    socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nconnection: close\r\n\r\n');
  });
  return listen(t, server);
}

type Case = (t: Test, counts: { connections: number }) => Promise<Partial<ArcClientOptions> & { endpoint: string }>;

const CASES: Record<string, Case> = {
  'a TLS handshake that is reset': async (t, counts) => ({
    endpoint: `https://127.0.0.1:${await resettingPort(t, counts)}/arc`,
  }),
  'a tunnel that a proxy refuses with 407': async (t, counts) => {
    const dispatcher = new ProxyAgent(`http://127.0.0.1:${await refusingProxy(t, counts)}`);
    t.teardown(() => dispatcher.destroy());
    return { endpoint: 'https://agents.invalid/arc', dispatcher };
  },
  'a connection that times out (ETIMEDOUT)': async (t, counts) => {
    const dispatcher = new Agent({
      connect: (_options, callback) => {
        counts.connections += 1;
        callback(Object.assign(new Error('connect ETIMEDOUT'), { code: 'ETIMEDOUT' }), null);
      },
    });
    t.teardown(() => dispatcher.destroy());
    return { endpoint: 'http://agents.invalid/arc', dispatcher };
  },
};

for (const [name, make] of Object.entries(CASES)) {
  t.test(`a chat.start of which no byte was sent leaves no chat to end: ${name} [T-53]`, async (t) => {
    const counts = { connections: 0 };
    const client = new ArcClient({ retries: 0, breaker: false, ...(await make(t, counts)) });
    t.teardown(() => client.close());
    const logged: unknown[] = [];
    const ended: ChatOutcome[] = [];
    const error = (about: object): void => void logged.push(about);
    const nothing = (): void => {};
    const threads = new ThreadManager(client, {
      logger: { debug: nothing, info: nothing, warn: nothing, error },
      hooks: { onEnd: (outcome) => ended.push(outcome) },
      cleanupTimeout: 500,
    });
    for (const stream of [false, true]) {
      const { listener } = dispatch(threads, { stream });
      t.equal(await listener.ended, 'error');
      t.match(listener.error, { code: -41_003 });
      t.equal(threads.threadCount, 0);
      t.equal(threads.endingCount, 0, 'no chat is being ended');
    }
    t.match((await settled(threads.sendToAgent(hello))).error, { code: -41_003 });
    t.equal(await threads.endChat('support'), undefined);
    t.strictSame(await threads.endAllChats(), []);
    t.equal(counts.connections, 3, 'one for each send, and none for a chat.end');
    t.strictSame([logged, ended], [[], []], 'no orphan is reported');
  });
}
