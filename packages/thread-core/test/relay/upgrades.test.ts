import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import {
  closeWith,
  createRelay,
  isBelow,
  isUpgrade,
  NotAttachedError,
  type Relay,
  serveUpgrades,
  takeUpgrade,
} from '../../src/index.js';
import { soon } from './helpers.js';

const makeRelay = (): Relay => createRelay({ endpoint: 'http://127.0.0.1:1/arc' });
const always = (): boolean => true;

async function listen(t: Test, answer: RequestListener): Promise<{ server: Server; port: number }> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: (server.address() as AddressInfo).port };
}

const upgradeOf = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n${more}\r\n`;

/** Sends these bytes, and gives all that comes back until the other side has ended. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' });
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {});
  socket.write(bytes);
  await soon(once(socket, 'close'), 'the end of the connection');
  return text;
}

t.test('an upgrade runs through the request listeners, and their answer is the last of the connection', async (t) => {
  const { server, port } = await listen(t, (request, response) => {
    t.ok(isUpgrade(request));
    response.on('drain', () => response.end('end'));
    t.notOk(response.write('x'.repeat(1_000_000)), 'it has to wait for the socket');
  });
  serveUpgrades(server, makeRelay(), always);
  const text = await exchange(port, upgradeOf('/'));
  t.match(text.slice(0, 200), /^HTTP\/1.1 200 OK.*connection: close/is);
  t.ok(text.length > 1_000_000);
});

t.test('an upgrade that is taken is no longer its response’s, and what followed it is still there', async (t) => {
  const events: string[] = [];
  const { server, port } = await listen(t, (request, response) => {
    for (const event of ['finish', 'close']) response.on(event, () => events.push(`${event} ${response.statusCode}`));
    setImmediate(() => {
      const socket = takeUpgrade(request) as Socket;
      t.equal(takeUpgrade(request), undefined, 'it can be taken once');
      socket.on('data', (chunk) => socket.end(`heard ${chunk}`));
    });
  });
  serveUpgrades(server, makeRelay(), always);
  t.equal(await exchange(port, `${upgradeOf('/')}frames`), 'heard frames');
  t.strictSame(events, ['finish 101', 'close 101'], 'for what watches the answer, that was it');
});

t.test('a plain request has no upgrade to be taken', async (t) => {
  const { server, port } = await listen(t, (request, response) => {
    t.notOk(isUpgrade(request));
    response.end(String(takeUpgrade(request)));
  });
  serveUpgrades(server, makeRelay(), always);
  t.match(
    await exchange(port, 'GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: close\r\n\r\n'),
    'undefined',
  );
  t.match(new NotAttachedError('x-arc'), { name: 'NotAttachedError', message: /^x-arc: .*attach\(server\)/ });
});

t.test("another listener's upgrades are left to it", async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('ours'));
  for (const path of ['/a', '/b']) serveUpgrades(server, makeRelay(), (request) => isBelow(request, [path]));
  t.match(await exchange(port, upgradeOf('/c')), 'ours', 'all of them, where there is no other listener');
  server.on('upgrade', ({ url }: IncomingMessage, socket: Socket) => {
    if (url === '/c') socket.end('theirs');
  });
  for (const path of ['/a', '/b']) t.match(await exchange(port, upgradeOf(path)), 'ours');
  t.equal(await exchange(port, upgradeOf('/c')), 'theirs');
});

t.test(
  'a framework with a way of its own gets them; where it will not have one, the request listeners do',
  async (t) => {
    const { server, port } = await listen(t, (_request, response) => response.end('ours'));
    serveUpgrades(server, makeRelay(), always, ({ url }, socket) => {
      if (url === '/theirs') socket.end('theirs');
      return url === '/theirs';
    });
    t.equal(await exchange(port, upgradeOf('/theirs')), 'theirs');
    t.match(await exchange(port, upgradeOf('/')), 'ours');
  },
);

t.test('an upgrade with a body is refused, and never reaches the app', async (t) => {
  const { server, port } = await listen(t, () => t.fail('it reached the app'));
  serveUpgrades(server, makeRelay(), always);
  for (const header of ['content-length: 2', 'transfer-encoding: chunked']) {
    t.match(await exchange(port, upgradeOf('/', `${header}\r\n`)), /^HTTP\/1.1 400 .*An upgrade has no body/s, header);
  }
});

t.test('an upgrade behind a request that is not answered yet ends the connection', async (t) => {
  const { server, port } = await listen(t, ({ url }) => t.equal(url, '/slow'));
  serveUpgrades(server, makeRelay(), always);
  t.equal(await exchange(port, `GET /slow HTTP/1.1\r\nhost: a\r\n\r\n${upgradeOf('/')}`), '');
});

t.test('closing a server closes its relays, those that come meanwhile too, and waits for them', async (t) => {
  const { server } = await listen(t, () => {});
  const [first, second, late] = [makeRelay(), makeRelay(), makeRelay()];
  for (const relay of [first, second, first]) closeWith(server, relay);
  const closed = new Promise((resolve) => server.close(resolve));
  closeWith(server, late);
  t.ok([first, second, late].every(({ isClosing }) => isClosing));
  t.equal(await closed, undefined);
  const again = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => server.close(resolve));
  t.match(again, { code: 'ERR_SERVER_NOT_RUNNING' }, 'as Node says of a server that is closed already');
  t.doesNotThrow(() => server.close());
});

t.test('where a path is below', async (t) => {
  const cases: [paths: string[], url: string, expected: boolean][] = [
    [['/ws'], '/ws', true],
    [['/ws'], '/WS/', true],
    [['/ws/'], '/ws?x=1', true],
    [['/ws'], '/ws/deep', true],
    [['/ws'], '/wsx', false],
    [['/ws'], '/other?/ws', false],
    [['/ws'], 'http://host:1/ws?x', true],
    [['/ws'], 'http://host/other', false],
    [['/ws'], '', false],
    [['/'], '/', true],
    [['/'], '/socket.io/', false],
    [['/a', '/b'], '/b', true],
    [[], '/b', false],
    [['/of/:id/ws'], '/of/7/ws', true],
    [['/of/:id/ws'], '/off', false],
    [['/ws{/:id}'], '/ws', true],
    [['/ab?c'], '/ac', true],
    [['/:'], '/anything', true],
  ];
  for (const [paths, url, expected] of cases) {
    t.equal(isBelow({ url } as IncomingMessage, paths), expected, `${url} below ${paths}`);
  }
});
