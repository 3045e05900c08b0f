import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import {
  admitUpgrade,
  closeWith,
  isPathOf,
  isUpgrade,
  type MountableApp,
  NotAttachedError,
  onAppListen,
  onListen,
  readPath,
  serveRelay,
  serveUpgrades,
  takeUpgrade,
  verifyClient,
} from '../../src/host/index.js';
import { createRelay, type Relay, type RelayOptions } from '../../src/index.js';
import { startTestAgent } from '../../src/testing/index.js';
import { Client, deferred, to, withDeadline } from '../relay/helpers.js';

const makeRelay = (more: RelayOptions = {}): Relay => createRelay({ endpoint: 'http://127.0.0.1:1/arc', ...more });
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

const HANDSHAKE = 'sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/** Sends these bytes, and gives all that comes back until the other side has ended. */
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

t.test('a taken upgrade is detached from its response, and the bytes after it are kept', async (t) => {
  const events: string[] = [];
  const { server, port } = await listen(t, (request, response) => {
    for (const event of ['finish', 'close']) response.on(event, () => events.push(`${event} ${response.statusCode}`));
    setImmediate(() => {
      const socket = takeUpgrade(request, 'x-arc');
      t.throws(() => takeUpgrade(request, 'x-arc'), NotAttachedError, 'it can be taken once');
      socket.on('data', (chunk) => socket.end(`heard ${chunk}`));
    });
  });
  serveUpgrades(server, makeRelay(), always);
  t.equal(await exchange(port, `${upgradeOf('/')}frames`), 'heard frames');
  t.strictSame(events, ['finish 101', 'close 101'], 'for what watches the answer, that was it');
});

t.test('an upgrade that arrives as a plain request cannot be taken, and the error says what to call', async (t) => {
  // There is no listener for upgrades, so Node makes it a plain request.
  const { port } = await listen(t, (request, response) => {
    t.ok(isUpgrade(request));
    t.throws(() => takeUpgrade(request, 'x-arc'), {
      name: 'NotAttachedError',
      message: /^x-arc: .*attach\(server\)/,
    });
    response.setHeader('connection', 'close').end('asked');
  });
  t.match(await exchange(port, upgradeOf('/')), 'asked');
});

for (const [what, take] of [
  ['a socket', undefined],
  ['a socket that was taken', takeUpgrade],
] as const) {
  t.test(`${what} that fails before it is accepted has no effect on the server`, async (t) => {
    const arrived = deferred<Socket>();
    const { server, port } = await listen(t, (request, response) => {
      if (!isUpgrade(request)) return void response.end('a page');
      take?.(request, 'x-arc');
      arrived.resolve(request.socket);
    });
    serveUpgrades(server, makeRelay(), always);
    const client = connect({ port, host: '127.0.0.1' });
    client.write(upgradeOf('/'));
    const socket = await withDeadline(arrived.promise, 'the upgrade');
    const gone = new Promise((resolve) => socket.once('close', resolve));
    client.resetAndDestroy();
    await withDeadline(gone, 'the end of the socket');
    t.equal(await (await fetch(`http://127.0.0.1:${port}`)).text(), 'a page');
  });
}

for (const order of ['before', 'after'] as const) {
  t.test(`listeners registered ${order} this one get no upgrade of ours, and every other upgrade`, async (t) => {
    const { server, port } = await listen(t, (_request, response) => response.end('ours'));
    const seen: unknown[] = [];
    const add = (): void => {
      // As other libraries do: one answers what it does not know, and one destroys it.
      server.on('upgrade', ({ url }: IncomingMessage, socket: Socket) => {
        seen.push(url);
        socket.end(url === '/theirs' ? 'theirs' : 'HTTP/1.1 400 Bad Request\r\n\r\n');
      });
      server.prependListener('upgrade', ({ url }: IncomingMessage, socket: Socket) => {
        if (url !== '/theirs') socket.destroy();
      });
    };
    if (order === 'before') add();
    for (const path of ['/a', '/b']) serveUpgrades(server, makeRelay(), ({ url }) => isPathOf(url, [path]));
    if (order === 'after') add();
    for (const path of ['/a', '/b', '/a/']) t.match(await exchange(port, upgradeOf(path)), 'ours', path);
    t.strictSame(seen, []);
    t.equal(await exchange(port, upgradeOf('/theirs')), 'theirs');
    t.equal(await exchange(port, upgradeOf('/nobody')), '');
    t.strictSame(seen, ['/theirs', '/nobody']);
  });
}

t.test('a relay that takes the place of a closed one on the same server serves its path', async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('a page'));
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  for (const user of ['of the first', 'of the second']) {
    const relay = makeRelay({ endpoint: agent.endpoint, authenticate: () => user });
    serveRelay(server, relay, { path: '/ws' });
    const client = await Client.open(`ws://127.0.0.1:${port}/ws`);
    t.match(await client.ask(to('a')), { type: 'response' }, user);
    t.match([...relay.sessions], [{ identity: user }]);
    await relay.close();
  }
  t.match(await exchange(port, upgradeOf('/ws', HANDSHAKE)), /^HTTP.1.1 503/, 'the last one is closed');
});

t.test('a library that answers unknown upgrades only while it is the only listener answers them', async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('ours'));
  serveUpgrades(server, makeRelay(), ({ url }) => isPathOf(url, ['/a']));
  const polite = (_request: IncomingMessage, socket: Socket): void => {
    if (server.listenerCount('upgrade') === 1) socket.end('theirs');
  };
  server.on('upgrade', polite);
  t.equal(await exchange(port, upgradeOf('/nobody')), 'theirs');
  t.match(await exchange(port, upgradeOf('/a')), 'ours');
  server.removeListener('upgrade', polite);
  server.once('upgrade', polite);
  t.equal(await exchange(port, upgradeOf('/nobody')), 'theirs');
  t.match(await exchange(port, upgradeOf('/nobody')), 'ours', 'after the last listener is gone, the app answers');
  server.on('upgrade', polite);
  server.removeAllListeners('upgrade');
  t.match(await exchange(port, upgradeOf('/nobody')), 'ours');
});

t.test('without another listener, the app answers every upgrade', async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('ours'));
  serveUpgrades(server, makeRelay(), ({ url }) => isPathOf(url, ['/a']));
  t.match(await exchange(port, upgradeOf('/c')), 'ours');
});

t.test('without any listener, an upgrade to another path is answered with 404', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  serveRelay(server, makeRelay(), { path: '/ws' });
  const { port } = server.address() as AddressInfo;
  t.match(await exchange(port, upgradeOf('/nobody', HANDSHAKE)), /^HTTP.1.1 404/);
});

t.test('a request that asks for another protocol is a plain request, with its body and what follows it', async (t) => {
  const { server, port } = await listen(t, async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    response.end(`${request.method} ${request.url} ${body} ${request.headers.upgrade} ${request.headers['x-more']}`);
  });
  serveUpgrades(server, makeRelay(), always);
  const h2c = 'upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nx-more: \xe9\r\n';
  const head = `POST /form HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\n${h2c}`;
  const more = 'GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
  const text = await exchange(port, `${head}content-length: 3\r\n\r\na=b${more}`);
  t.match(text, /POST \/form a=b undefined .*GET \/next {2}undefined undefined/s, 'on the same connection');
  const chunked = await exchange(port, `${head}transfer-encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n${more}`);
  t.match(chunked, 'POST /form a=b undefined');
});

t.test('an upgrade to another protocol goes to the other listener, if there is one', async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('ours'));
  serveUpgrades(server, makeRelay(), always);
  server.on('upgrade', (_request: IncomingMessage, socket: Socket) => socket.end('theirs'));
  t.equal(await exchange(port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n'), 'theirs');
});

t.test("a framework's upgrade handler comes first, and request listeners get what it declines", async (t) => {
  const { server, port } = await listen(t, (_request, response) => response.end('ours'));
  serveUpgrades(server, makeRelay(), always, ({ url }, socket) => {
    if (url === '/theirs') socket.end('theirs');
    return url === '/theirs';
  });
  t.equal(await exchange(port, upgradeOf('/theirs')), 'theirs');
  t.match(await exchange(port, upgradeOf('/')), 'ours');
});

t.test('an upgrade with a body is refused, and never reaches the app', async (t) => {
  const { server, port } = await listen(t, () => t.fail('it reached the app'));
  serveUpgrades(server, makeRelay(), always);
  for (const header of ['content-length: 2', 'transfer-encoding: chunked']) {
    t.match(await exchange(port, upgradeOf('/', `${header}\r\n`)), /^HTTP\/1.1 400 .*An upgrade has no body/s, header);
  }
});

t.test('an upgrade that is pipelined behind an unanswered request ends the connection', async (t) => {
  const { server, port } = await listen(t, ({ url }) => t.equal(url, '/slow'));
  serveUpgrades(server, makeRelay(), always);
  t.equal(await exchange(port, `GET /slow HTTP/1.1\r\nhost: a\r\n\r\n${upgradeOf('/')}`), '');
});

t.test('closing a server closes its relays, also those added meanwhile, and waits for them', async (t) => {
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

t.test(
  'a server that listens again after it was closed has its relays closed only when it is closed again',
  async (t) => {
    const { server } = await listen(t, () => {});
    closeWith(server, makeRelay());
    await new Promise((resolve) => server.close(resolve));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const relay = makeRelay();
    closeWith(server, relay);
    t.notOk(relay.isClosing);
    await new Promise((resolve) => server.close(resolve));
    t.ok(relay.isClosing);
  },
);

for (const way of ['close', 'dispose'] as const) {
  t.test(`server.${way} ends the chats behind its WebSockets, and closes them`, async (t) => {
    const agent = await startTestAgent();
    t.teardown(() => agent.close());
    const relay = createRelay({ endpoint: agent.endpoint });
    const sockets = new WebSocketServer({ noServer: true, ...relay.wsOptions });
    const { server, port } = await listen(t, (request) => {
      const socket = takeUpgrade(request, 'x-arc');
      sockets.handleUpgrade(request, socket, Buffer.alloc(0), (webSocket) => relay.attach(webSocket, request));
    });
    serveUpgrades(server, relay, always);
    const client = new Client(`ws://127.0.0.1:${port}`);
    await withDeadline(once(client.socket, 'open'), 'the client to be accepted');
    await client.ask(to('a'));
    if (way === 'close') await new Promise((resolve) => server.close(resolve));
    else await server[Symbol.asyncDispose]();
    t.equal((await client.closed).code, 1001);
    t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  });
}

t.test('the answers to requests that get no WebSocket', async (t) => {
  const contexts: unknown[] = [];
  const relay = makeRelay({
    authenticate: ({ headers }, context) => {
      contexts.push(context);
      return headers.authorization;
    },
  });
  const answer = (headers: Record<string, string>) =>
    admitUpgrade(relay, { headers } as unknown as IncomingMessage, { context: 'the context' });
  const handshake = { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' };
  const upgrade = { upgrade: 'websocket', connection: 'upgrade', ...handshake };
  t.strictSame(await answer({}), {
    status: 426,
    headers: { connection: 'Upgrade, close', upgrade: 'websocket' },
    body: { error: 'Expected a WebSocket' },
  });
  const closing = { connection: 'close' };
  const stranger = { status: 401, headers: closing, body: { error: 'Not authenticated' } };
  t.strictSame(await answer(upgrade), stranger);
  const elsewhere = { status: 403, headers: closing, body: { error: 'This origin is not allowed' } };
  t.strictSame(await answer({ ...upgrade, origin: 'http://elsewhere.example' }), elsewhere);
  t.equal(await answer({ ...upgrade, authorization: 'ann' }), undefined);
  t.strictSame(contexts, ['the context', 'the context']);

  // verifyClient gives a ws server the same answer, as text.
  const told = (authorization?: string): Promise<unknown[]> =>
    new Promise((resolve) => {
      const req = { headers: { ...upgrade, authorization } } as unknown as IncomingMessage;
      verifyClient(relay)({ req }, (...answer) => resolve(answer));
    });
  t.strictSame(await told('ann'), [true]);
  t.strictSame(await told(), [false, 401, '{"error":"Not authenticated"}', { 'Content-Type': 'application/json' }]);
});

t.test('isUpgrade tells WebSockets from everything else', async (t) => {
  const is = (headers: Record<string, string>) => isUpgrade({ headers } as unknown as IncomingMessage);
  t.ok(is({ upgrade: 'websocket', connection: 'Upgrade' }));
  t.ok(is({ upgrade: 'WebSocket', connection: 'keep-alive, upgrade' }));
  t.notOk(is({ upgrade: 'websocket' }));
  t.notOk(is({ upgrade: 'websocket', connection: 'close' }));
  t.notOk(is({ upgrade: 'h2c', connection: 'upgrade' }));
  t.notOk(is({}));
});

t.test('readPath checks and normalizes the option path', async (t) => {
  t.equal(readPath(undefined), '/ws');
  t.equal(readPath('/'), '/');
  t.equal(readPath('/ws/'), '/ws', 'a slash at the end makes no other path');
  for (const path of ['ws', '', 7, null]) t.throws(() => readPath(path), { name: 'TypeError', message: /^path: / });
});

t.test('a server that a framework has not made yet is named in the error', async (t) => {
  const relay = createRelay({ endpoint: 'http://127.0.0.1:1/arc' });
  for (const server of [undefined, {}] as unknown as Server[]) {
    t.throws(() => serveRelay(server, relay), { name: 'TypeError', message: /^server: must be a node:http/ });
  }
  await relay.close();
});

t.test('onAppListen gives the server of an app, or of one that it is mounted in, before or after', async (t) => {
  class App extends EventEmitter implements MountableApp {
    readonly server = createServer();
    parent?: this;
    listen(): Server {
      return this.server;
    }
    mountIn(parent: this): void {
      this.parent = parent;
      this.emit('mount', parent);
    }
  }
  const [root, early, late] = [new App(), new App(), new App()];
  const seen: unknown[] = [];
  early.mountIn(root);
  onAppListen(early, (server, app) => seen.push(['early', server, app]));
  onAppListen(late, (server, app) => seen.push(['late', server, app]));
  onAppListen(late, (server, app) => seen.push(['late too', server, app]));
  late.mountIn(root);
  root.listen();
  t.strictSame(
    seen.map((each) => (each as [string])[0]),
    ['early', 'late', 'late too'],
  );
  for (const [, server, app] of seen as [string, Server, App][]) t.ok(server === root.server && app === root);
});

t.test("onListen gives the server of the app's own listen", async (t) => {
  const server = createServer();
  const seen: unknown[] = [];
  const app = {
    listen(...args: unknown[]): Server {
      seen.push(this, ...args);
      return server;
    },
  };
  onListen(app, (made) => seen.push(made));
  t.equal(app.listen(0, 'a host'), server);
  t.strictSame(seen, [app, 0, 'a host', server]);
});

t.test('isPathOf compares URLs with patterns', async (t) => {
  const cases: [paths: string[], url: string, expected: boolean][] = [
    [['/ws'], '/ws', true],
    [['/ws'], '/WS/', true],
    [['/ws/'], '/ws?x=1', true],
    [['/ws'], '/%77s', true],
    [['/ws'], '/ws/deep', false],
    [['/ws'], '/wsx', false],
    [['/ws'], '/other?/ws', false],
    [['/ws'], '/%', false],
    [['/ws'], 'http://host:1/ws?x', true],
    [['/ws'], 'http://host/other', false],
    [['/ws'], '', false],
    [['/'], '/', true],
    [['/'], '/socket.io/', false],
    [['/a', '/b'], '/b', true],
    [[], '/b', false],
    [['/of/:id/ws'], '/of/7/ws/', true],
    [['/of/:id/ws'], '/of/a%2Fb/WS', true],
    [['/of/:id/ws'], '/of/7/other', false],
    [['/of/:id/ws'], '/off', false],
    [['/ws{/:id}'], '/ws', true],
    [['/ab?c'], '/ac', true],
    [['/x/*'], '/x/y/z', true],
    [['/:'], '/anything', true],
  ];
  for (const [paths, url, expected] of cases) {
    t.equal(isPathOf(url, paths), expected, `${url} is at ${paths}`);
  }
});
