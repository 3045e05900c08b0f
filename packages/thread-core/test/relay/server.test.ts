import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import {
  closeWith,
  createRelay,
  isUpgrade,
  NotAttachedError,
  type RelayOptions,
  serveUpgrades,
  takeUpgrade,
} from '../../src/index.js';
import { startTestAgent } from '../../src/testing/index.js';
import { Client, textOf, to } from './helpers.js';

type Listener = (req: IncomingMessage, res: ServerResponse) => void;

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const urlOf = (server: Server, path = '/'): string => `ws://127.0.0.1:${portOf(server)}${path}`;

/** An HTTP server that answers requests by itself and accepts upgrades from within its request listener. */
async function site(t: Test, options: RelayOptions = {}, before?: Listener) {
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint, ...options });
  const sockets = new WebSocketServer({ noServer: true, ...relay.wsOptions });
  const accept = async (req: IncomingMessage, res: ServerResponse): Promise<unknown> => {
    before?.(req, res);
    if (res.writableEnded) return undefined;
    if (!isUpgrade(req)) return res.end('a page');
    const admission = await relay.admit(req);
    if ('refused' in admission) return res.writeHead(admission.refused.status).end(admission.refused.message);
    const socket = takeUpgrade(req);
    if (socket === undefined) return res.writeHead(500).end(new NotAttachedError('site').message);
    return sockets.handleUpgrade(req, socket, Buffer.alloc(0), (webSocket) => relay.attach(webSocket, req));
  };
  const server = createServer((req, res) => void accept(req, res));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await relay.close({ timeout: 0 });
    await agent.close();
  });
  return { agent, relay, server };
}

/** Asks for an upgrade. Gives the status and the text of the answer, where it is not one. */
async function refusal(server: Server, headers: Record<string, string> = {}): Promise<[number | undefined, string]> {
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' };
  const key = { 'sec-websocket-key': Buffer.alloc(16).toString('base64') };
  const req = request({ port: portOf(server), host: '127.0.0.1', headers: { ...upgrade, ...key, ...headers } }).end();
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of res) text += chunk;
  return [res.statusCode, text];
}

const all = (): boolean => true;

t.test('an upgrade runs through the request listeners, and is accepted there', async (t) => {
  const seen: string[] = [];
  const { server, relay } = await site(t, {}, (req) => void seen.push(`${req.url} ${isUpgrade(req)}`));
  serveUpgrades(server, relay, all);
  const client = new Client(urlOf(server, '/ws?x=1'));
  await once(client.socket, 'open');
  t.equal(textOf(await client.ask(to('a'))), 'a #1: hello');
  t.equal(await (await fetch(urlOf(server).replace('ws', 'http'))).text(), 'a page');
  t.strictSame(seen, ['/ws?x=1 true', '/ false']);
  client.socket.terminate();
});

t.test('a refusal is a real HTTP answer, and the connection is closed after it', async (t) => {
  const { server, relay } = await site(t, { authenticate: (req) => req.headers['x-key'] === 'k' });
  serveUpgrades(server, relay, all);
  t.strictSame(await refusal(server), [401, 'Not authenticated']);
  t.strictSame(await refusal(server, { origin: 'http://evil.example' }), [403, 'This origin is not allowed']);
  const client = new Client(urlOf(server), { headers: { 'x-key': 'k' } });
  await once(client.socket, 'open');
  client.socket.terminate();
});

t.test('what comes with the handshake is not lost', async (t) => {
  const { server, relay } = await site(t);
  serveUpgrades(server, relay, all);
  const raw = connect(portOf(server), '127.0.0.1');
  const headers = ['Host: x', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13'];
  const key = `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`;
  const ping = Buffer.concat([Buffer.from([0x81, 0x8f, 0, 0, 0, 0]), Buffer.from('{"type":"ping"}')]);
  raw.write(Buffer.concat([Buffer.from(['GET / HTTP/1.1', ...headers, key, '', ''].join('\r\n')), ping]));
  let got = '';
  for await (const chunk of raw) {
    got += (chunk as Buffer).toString('latin1');
    if (got.includes('{"type":"pong"}')) break;
  }
  t.match(got, /^HTTP\/1.1 101 .*\{"type":"pong"\}$/s);
});

t.test('a socket that fails before it is accepted harms nobody', async (t) => {
  const { server, relay } = await site(t, { authenticate: () => new Promise(() => {}) });
  serveUpgrades(server, relay, all);
  const raw = connect(portOf(server), '127.0.0.1');
  const arrived = once(server, 'upgrade');
  raw.write('GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  const [, socket] = await arrived;
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  raw.resetAndDestroy();
  await closed;
  t.equal(await (await fetch(urlOf(server).replace('ws', 'http'))).text(), 'a page');
});

t.test('an upgrade that nothing brings here is a plain request, and the error says what to call', async (t) => {
  const { server } = await site(t);
  const [status, text] = await refusal(server);
  t.equal(status, 500);
  t.match(text, /^site: .*\.attach\(server\)/);
  t.equal(new NotAttachedError('x').name, 'NotAttachedError');
});

t.test('upgrades of another library are left to it', async (t) => {
  const { server, relay } = await site(t);
  const others = new WebSocketServer({ noServer: true });
  server.on('upgrade', (req, socket, head) => {
    if (req.url === '/other') others.handleUpgrade(req, socket, head, (webSocket) => webSocket.send('the other'));
  });
  serveUpgrades(server, relay, (req) => req.url === '/ws');
  serveUpgrades(server, relay, (req) => req.url === '/ws2');
  const other = new Client(urlOf(server, '/other'));
  t.equal(await other.text(), 'the other');
  for (const path of ['/ws', '/ws2']) {
    const client = new Client(urlOf(server, path));
    await once(client.socket, 'open');
    t.strictSame(await client.rest(), []);
    client.socket.terminate();
  }
  other.socket.terminate();
  for (const socket of others.clients) socket.terminate();
});

for (const way of ['close', 'dispose'] as const) {
  t.test(`server.${way} closes all relays of the server, and ends when they have`, async (t) => {
    const { server, relay, agent } = await site(t);
    const second = createRelay({ endpoint: agent.endpoint });
    serveUpgrades(server, relay, all);
    closeWith(server, second);
    closeWith(server, relay);
    const client = new Client(urlOf(server));
    await once(client.socket, 'open');
    await client.ask(to('a'));
    if (way === 'close') await new Promise((resolve) => server.close(resolve));
    else await server[Symbol.asyncDispose]();
    t.equal((await client.closed).code, 1001);
    t.equal(agent.counters.open, 0);
    t.strictSame([relay.isClosing, second.isClosing], [true, true]);
    const error = await new Promise((resolve) => server.close(resolve));
    t.match(error, { code: 'ERR_SERVER_NOT_RUNNING' }, 'as ever');
    t.equal(server.close(), server);
  });
}

t.test('isUpgrade tells WebSockets from everything else', async (t) => {
  const is = (headers: Record<string, string>) => isUpgrade({ headers } as unknown as IncomingMessage);
  t.ok(is({ upgrade: 'websocket', connection: 'Upgrade' }));
  t.ok(is({ upgrade: 'websocket', connection: 'keep-alive, upgrade' }));
  t.notOk(is({ upgrade: 'websocket' }));
  t.ok(is({ upgrade: 'WebSocket', connection: 'upgrade' }));
  t.notOk(is({ upgrade: 'h2c' }));
  t.notOk(is({}));
});
