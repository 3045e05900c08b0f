// What never reached the agent, by what was written and not by the code of an error.
import { once } from 'node:events';
import net from 'node:net';
import t, { type Test } from 'tap';
import { ProxyAgent } from 'undici';
import type { ArcClientOptions } from '../../src/client/arc-client.js';
import { wasNeverSent } from '../../src/client/transport-error.js';
import { silentLogger } from '../../src/logger.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { connect, cutStream, DEAD_PORT, event, failure, HELLO, heard, pair, piece, START } from './support.js';

/** A TCP server that does this with each connection. */
async function server(t: Test, accept: (socket: net.Socket) => void): Promise<number> {
  const sockets: net.Socket[] = [];
  const listening = net.createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    accept(socket);
  });
  listening.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    listening.close();
  });
  return (listening.address() as net.AddressInfo).port;
}

/** Ways in which a connection to an agent cannot be made. */
const UNREACHABLE: Record<string, (t: Test) => Promise<Partial<ArcClientOptions>>> = {
  'a port without a listener': async () => ({ endpoint: `http://127.0.0.1:${DEAD_PORT}/arc` }),
  'a name that does not exist': async () => ({ endpoint: 'http://nowhere.invalid/arc' }),
  'a TLS port that resets': async (t) => ({
    endpoint: `https://127.0.0.1:${await server(t, (socket) => socket.once('data', () => socket.resetAndDestroy()))}/arc`,
  }),
  'a TLS port that closes': async (t) => ({
    endpoint: `https://127.0.0.1:${await server(t, (socket) => socket.once('data', () => socket.end()))}/arc`,
  }),
  'a proxy that refuses the tunnel': async (t) => {
    const refuse = 'HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n';
    const port = await server(t, (socket) => socket.once('data', () => socket.end(refuse)));
    const dispatcher = new ProxyAgent({ uri: `http://127.0.0.1:${port}`, proxyTunnel: true });
    t.teardown(() => dispatcher.destroy());
    return { endpoint: 'http://agent.example/arc', dispatcher };
  },
  'a proxy that resets the tunnel': async (t) => {
    const port = await server(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
    const dispatcher = new ProxyAgent({ uri: `http://127.0.0.1:${port}`, proxyTunnel: true });
    t.teardown(() => dispatcher.destroy());
    return { endpoint: 'http://agent.example/arc', dispatcher };
  },
  'a connector that times out': async (t) => {
    const timeout = Object.assign(new Error('connect ETIMEDOUT'), { code: 'ETIMEDOUT' });
    const { Agent } = await import('undici');
    const dispatcher = new Agent({ connect: (_options, callback) => callback(timeout, null) });
    t.teardown(() => dispatcher.destroy());
    return { endpoint: 'http://agent.example/arc', dispatcher };
  },
};

for (const [what, options] of Object.entries(UNREACHABLE)) {
  t.test(`[T-53] ${what}: nothing was sent, so there is no thread and no chat.end`, async (t) => {
    const client = connect(t, { url: '' }, { retries: 1, ...(await options(t)) });
    const error = await failure(client.chat.start(START));
    t.equal(error.code, -41003);
    t.ok(wasNeverSent(error), error.reason);
    const { call, ended } = heard(client);
    await ended;
    t.equal(call.wasSent, false);
    const logged: unknown[] = [];
    const log = (about: object, message: string): void => void logged.push({ about, message });
    const threads = new ThreadManager(client, { logger: { ...silentLogger, error: log, info: log } });
    const failed = await failure(threads.sendToAgent({ agentId: 'support', message: HELLO }));
    t.equal(failed.code, -41003);
    t.equal(threads.hasThread('support'), false);
    t.same(await threads.endAllChats(), []);
    t.same(logged, []);
  });
}

t.test('[T-53] what was written may have been sent, whatever the error', async (t) => {
  for (const [what, reply] of Object.entries({
    'a reset': (socket: net.Socket) => socket.resetAndDestroy(),
    'a close': (socket: net.Socket) => socket.end(),
    'a stream that breaks off': cutStream(event('content', piece('a'))),
    'a time-out': () => {},
  })) {
    const { client } = await pair(t, reply, { timeout: 100, retries: 0 });
    const { call, ended } = heard(client);
    const error = await ended;
    t.equal(wasNeverSent(error), false, what);
    t.equal(call.wasSent, true, what);
  }
});

t.test('[T-53] a call that times out while it waits for a connection was never sent', async (t) => {
  const { peer, client } = await pair(t, () => {}, { connections: 1, breaker: false });
  const held = failure(client.chat.start(START));
  await peer.until(() => peer.requests.length === 1);
  const error = await failure(client.chat.start({ ...START, timeout: 20 }));
  t.equal(error.code, -41006);
  t.ok(wasNeverSent(error));
  await client.close();
  t.notOk(wasNeverSent(await held));
});
