import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { createRelay, type Relay, type RelayOptions, type Session } from '../../../src/index.js';
import { startTestAgent } from '../../../src/testing/index.js';
import { Client, deferred, Log, to, withDeadline } from '../helpers.js';

interface Site {
  relay: Relay;
  server: Server;
  url: string;
  port: number;
  log: Log;
  sessions: (Session | undefined)[];
}

/** A node:http server that gives its upgrades to a relay, and nothing else. */
async function serve(t: Test, options: Partial<RelayOptions> = {}): Promise<Site> {
  const agent = await startTestAgent();
  const log = new Log();
  const relay = createRelay({ endpoint: agent.endpoint, logger: log, ...options });
  const sessions: (Session | undefined)[] = [];
  const server = createServer((_request, response) => response.end('a page'));
  server.on('upgrade', async (request, socket, head) => {
    sessions.push(await relay.handleUpgrade(request, socket, head, { context: 'the context' }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(async () => {
    await relay.close();
    server.closeAllConnections();
    server.close();
    await agent.close();
  });
  const { port } = server.address() as AddressInfo;
  return { relay, server, url: `ws://127.0.0.1:${port}`, port, log, sessions };
}

/** Sends bytes; gives all that comes back until the server has closed the connection. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  socket.write(bytes);
  await withDeadline(once(socket, 'close'), 'the end of the connection');
  return text;
}

const handshake = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n';
const valid = 'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

t.test('handleUpgrade accepts an upgrade of node:http, attaches it, and gives its session', async (t) => {
  const contexts: unknown[] = [];
  const { url, sessions } = await serve(t, { authenticate: (_request, context) => contexts.push(context) });
  const client = new Client(url);
  await withDeadline(once(client.socket, 'open'), 'the client to be accepted');
  t.equal((await client.ask(to('a'))).type, 'response');
  t.match(sessions, [{ identity: 1 }]);
  t.strictSame(contexts, ['the context']);
});

t.test('handleUpgrade refuses in HTTP, and ends the connection', async (t) => {
  const { port, sessions } = await serve(t, { authenticate: ({ headers }) => headers.authorization ?? null });
  const refused = await exchange(port, `${handshake}${valid}\r\n`);
  t.match(
    refused,
    /^HTTP\/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-type: application\/json.*\{"error":"Not authenticated"\}$/is,
  );
  t.match(await exchange(port, `${handshake}${valid}origin: http://evil.example\r\n\r\n`), /^HTTP\/1.1 403 /);
  t.match(await exchange(port, `${handshake}authorization: me\r\n\r\n`), /^HTTP\/1.1 400 /, 'no valid handshake');
  const h2c = handshake.replace('websocket', 'h2c');
  t.match(await exchange(port, `${h2c}\r\n`), /^HTTP\/1.1 426 .*upgrade: websocket/is);
  t.strictSame(sessions, [undefined, undefined, undefined, undefined]);
});

t.test('handleUpgrade never rejects: a callback that fails ends the connection, and is logged', async (t) => {
  const log = new Log();
  const logger = {
    debug: log.debug,
    info: log.info,
    error: log.error,
    warn: (): never => {
      throw new Error('no disk');
    },
  };
  const { port, sessions, relay } = await serve(t, { logger, authenticate: () => null });
  await exchange(port, `${handshake}${valid}\r\n`);
  t.equal(relay.stats().sessions, 0);
  t.ok(sessions.length <= 1);
});

t.test('a client that resets while handleUpgrade authenticates does no harm, and its slot is released', async (t) => {
  const asked = deferred();
  const gone = deferred();
  let isFirst = true;
  const { port, url, server } = await serve(t, {
    maxSessions: 1,
    authenticate: () => {
      if (!isFirst) return true;
      isFirst = false;
      asked.resolve();
      return new Promise(() => {});
    },
  });
  server.prependListener('upgrade', (_request, socket) => socket.once('close', () => gone.resolve()));
  const client = connect({ port, host: '127.0.0.1' });
  client.write(`${handshake}${valid}\r\n`);
  await withDeadline(asked.promise, 'authenticate');
  client.resetAndDestroy();
  await withDeadline(gone.promise, 'the end of the socket');
  const next = new Client(url);
  await withDeadline(once(next.socket, 'open'), 'the next client to be accepted');
});

t.test('subprotocols: the first offer that is spoken, no other', async (t) => {
  const { port, log } = await serve(t);
  const offer = async (offers: string): Promise<string> => {
    const text = exchange(port, `${handshake}${valid}sec-websocket-protocol: ${offers}\r\n\r\n\x88\x80\0\0\0\0`);
    return /sec-websocket-protocol: (.*)\r\n/i.exec(await text)?.[1] ?? 'none';
  };
  t.equal(await offer('secret-token'), 'none');
  t.equal(await offer('secret-token, arc-thread.v1'), 'arc-thread.v1');
  t.match(log.at('warn'), [{ message: /subprotocols/ }]);
  t.notMatch(JSON.stringify(log.lines), 'secret-token');
});
