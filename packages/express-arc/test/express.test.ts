import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import {
  Client,
  closeServer,
  connectSocketIo,
  gate,
  listen,
  listening,
  portOf,
  RawClient,
  refusesPaths,
  socketIo,
  until,
  upgrade,
  upgradeText,
  withDeadline,
} from '@arc/host-contract';
import type { Session } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
import express, { type ErrorRequestHandler } from 'express';
import morgan from 'morgan';
import { pinoHttp } from 'pino-http';
import t from 'tap';
import arc from '../src/index.js';

const agent = await startTestAgent();
// It is there for all tests, and does not keep the process.
agent.server.unref();

const says = async (port: number, path: string): Promise<string> => {
  const client = await Client.open(`ws://127.0.0.1:${port}${path}`);
  return client.say('a');
};

t.test(
  'Express decides what matches the path: case, slashes, several paths, patterns, regular expressions',
  async (t) => {
    const app = express();
    app.use(['/one', '/Two'], arc({ endpoint: agent.endpoint }));
    app.use('/of/:tenant/ws', arc({ endpoint: agent.endpoint }));
    app.use(/^\/x+$/, arc({ endpoint: agent.endpoint }));
    const port = await listen(t, app);
    for (const path of ['/one', '/ONE', '/two/', '/two?a=/b', '/of/ann/ws', '/of/bob/WS/', '/xxx']) {
      t.equal(await says(port, path), 'a #1: hello', path);
    }
    for (const path of ['/three', '/one/two', '/of/ws', '/xxy', '/%6fne', '/one;x']) {
      t.equal((await upgrade(port, path)).status, 404, path);
    }
  },
);

t.test('beside Socket.IO, upgrades to several paths and patterns reach the relay', async (t) => {
  const app = express();
  app.use(['/one', '/two'], arc({ endpoint: agent.endpoint }));
  const inner = express();
  inner.use('/ws', arc({ endpoint: agent.endpoint }));
  app.use('/of/:tenant', inner);
  // The root is a path like any other, and not everything below it.
  app.use(arc({ endpoint: agent.endpoint }));
  const server = app.listen(0, '127.0.0.1');
  const library = socketIo();
  library.attach(server);
  await listening(server);
  t.teardown(() => Promise.all([library.close(), closeServer(server)]));
  const port = portOf(server);
  for (const path of ['/one', '/two', '/of/ann/ws', '/']) t.equal(await says(port, path), 'a #1: hello', path);
  const talk = await connectSocketIo(t, port, ['websocket']);
  t.equal(await talk('x'), 'echo x');
});

t.test('an app that is mounted in two others gets the server of the outermost', async (t) => {
  const [app, outer, inner] = [express(), express(), express()];
  inner.use('/ws', arc({ endpoint: agent.endpoint }));
  outer.use('/b', inner);
  app.use('/a', outer);
  t.equal(await says(await listen(t, app), '/a/b/ws'), 'a #1: hello');
});

t.test('an app that was mounted before it got the relay finds the server as well', async (t) => {
  const [app, outer, inner] = [express(), express(), express()];
  app.use('/a', outer);
  outer.use('/b', inner);
  inner.use('/ws', arc({ endpoint: agent.endpoint }));
  t.equal(await says(await listen(t, app), '/a/b/ws'), 'a #1: hello');
});

t.test('a session keeps its request, and releases the unused response', async (t) => {
  const app = express();
  const middleware = arc({ endpoint: agent.endpoint });
  app.use('/of/:tenant/ws', middleware);
  await Client.open(`ws://127.0.0.1:${await listen(t, app)}/of/ann/ws`);
  const [{ request }] = [...middleware.relay.sessions] as [Session];
  const { params, originalUrl, res, next, socket } = request as express.Request;
  t.same({ ...params, originalUrl, res, next }, { tenant: 'ann', originalUrl: '/of/ann/ws' });
  t.equal(socket.listenerCount('error'), 1, 'that of the WebSocket');
});

t.test('an upgrade with a body is answered with 400', async (t) => {
  const app = express();
  let bodies = 0;
  app.use(express.json(), (_request, _response, next) => {
    bodies += 1;
    next();
  });
  app.use('/ws', arc({ endpoint: agent.endpoint }));
  const port = await listen(t, app);
  for (const headers of [{ 'content-length': '9' }, { 'transfer-encoding': 'chunked' }]) {
    const client = new RawClient(port, upgradeText('/ws', headers as Record<string, string>, 'POST'), '{"a":"b"}');
    await client.receives('An upgrade has no body');
    t.match(client.text, /^HTTP\/1.1 400 .*connection: close/is);
    client.socket.destroy();
  }
  t.equal(bodies, 0);
});

t.test('bytes after a refused upgrade are not parsed as a request', async (t) => {
  const app = express();
  let requests = 0;
  app.use((_request, _response, next) => {
    requests += 1;
    next();
  });
  app.use('/ws', arc({ endpoint: agent.endpoint, authenticate: () => null }));
  const port = await listen(t, app);
  const client = new RawClient(port, upgradeText('/ws'), 'GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n');
  await client.receives('Not authenticated');
  client.socket.end('GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n');
  await client.closed;
  t.equal(requests, 1);
  t.equal(client.text.match(/HTTP\/1.1/g)?.length, 1);
});

t.test(
  'in a Router the option app gives the server, also beside Socket.IO; without it every request is answered with 500',
  async (t) => {
    const app = express();
    const router = express.Router();
    const agents = arc({
      app,
      path: '/api/ws',
      endpoint: agent.endpoint,
      authenticate: ({ headers }) => headers.authorization,
    });
    app.use('/api', router.use('/ws', agents));
    const server = app.listen(0, '127.0.0.1');
    const library = socketIo();
    library.attach(server);
    await listening(server);
    t.teardown(() => Promise.all([library.close(), closeServer(server)]));
    const port = portOf(server);
    t.equal((await upgrade(port, '/api/ws')).status, 401);
    const client = await Client.open(`ws://127.0.0.1:${port}/api/ws`, { headers: { authorization: 'ann' } });
    t.equal(await client.say('a'), 'a #1: hello');
    t.equal(await (await connectSocketIo(t, port, ['websocket']))('x'), 'echo x');

    const forgetful = express();
    forgetful.use(
      express
        .Router()
        .use('/ws', arc({ endpoint: agent.endpoint, authenticate: ({ headers }) => headers.authorization })),
    );
    const errors: unknown[] = [];
    forgetful.use(((error, _request, response, _next) => {
      errors.push(error);
      response.status(500).end();
    }) as ErrorRequestHandler);
    const forgotten = await listen(t, forgetful);
    t.equal(
      (await upgrade(forgotten, '/ws', { connection: 'upgrade, close' })).status,
      500,
      'who is not authenticated',
    );
    t.equal(
      (await upgrade(forgotten, '/ws', { authorization: 'ann', connection: 'upgrade, close' })).status,
      500,
      'and who is',
    );
    t.match(errors, [/attach\(server\)/, /attach\(server\)/]);
  },
);

t.test('morgan and pino-http log status 101', async (t) => {
  const app = express();
  const lines: string[] = [];
  const logged = gate();
  const write = (line: string): void => {
    lines.push(line);
    if (lines.length === 2) logged.open();
  };
  app.use(morgan(':method :url :status', { stream: { write } }));
  app.use(pinoHttp({}, { write }));
  app.use('/ws', arc({ endpoint: agent.endpoint }));
  await Client.open(`ws://127.0.0.1:${await listen(t, app)}/ws`);
  await withDeadline(logged.opened, 'both lines');
  t.ok(lines.includes('GET /ws 101\n'), lines.join());
  const line = JSON.parse(lines.find((text) => text.startsWith('{')) ?? '{}');
  t.match(line, { res: { statusCode: 101 }, msg: 'request completed' });
});

t.test('an access log has the status of an invalid handshake, which is refused before it is accepted', async (t) => {
  const app = express();
  const lines: string[] = [];
  let asked = 0;
  app.use(morgan(':status', { stream: { write: (line) => void lines.push(line.trim()) } }));
  app.use('/ws', arc({ endpoint: agent.endpoint, authenticate: () => ++asked }));
  const port = await listen(t, app);
  for (const [headers, status] of [
    [{ 'sec-websocket-key': 'short' }, 400],
    [{ 'sec-websocket-version': '7' }, 426],
    [{ 'sec-websocket-protocol': 'a,,b' }, 400],
    [{ 'sec-websocket-protocol': 'a, a' }, 400],
  ] as const) {
    const answer = await upgrade(port, '/ws', headers);
    t.equal(answer.status, status, JSON.stringify(headers));
    if (status === 426) t.equal(answer.headers['sec-websocket-version'], '13, 8');
    await until(() => lines.length > 0, 'the request is logged');
    t.strictSame(lines.splice(0), [String(status)]);
  }
  t.equal(asked, 0);
  t.equal((await upgrade(port, '/ws', { 'sec-websocket-protocol': 'arc-thread.v1, a' })).status, 101);
});

t.test('a dozen relays on one server make Node warn of nothing', async (t) => {
  const warnings: string[] = [];
  const note = ({ message }: Error): void => void warnings.push(message);
  process.on('warning', note);
  t.teardown(() => process.off('warning', note));
  const app = express();
  for (let count = 0; count < 12; count += 1) app.use(`/${count}`, arc({ endpoint: agent.endpoint }));
  t.equal(await says(await listen(t, app), '/11'), 'a #1: hello');
  t.strictSame(warnings, []);
});

for (const when of ['before it listens', 'after it listens'] as const) {
  t.test(`a Router without path warns once if another library is added ${when}`, async (t) => {
    const warnings: string[] = [];
    const ignore = (): void => {};
    const logger = {
      debug: ignore,
      info: ignore,
      error: ignore,
      warn: (_about: object, line: string) => void warnings.push(line),
    };
    const app = express();
    const inRouter = arc({ app, endpoint: agent.endpoint, logger });
    app.use(express.Router().use('/ws', inRouter));
    app.use('/mounted', arc({ endpoint: agent.endpoint, logger }));
    const server = createServer(app);
    inRouter.attach(server);
    const library = socketIo();
    if (when === 'before it listens') library.attach(server);
    server.listen(0, '127.0.0.1');
    await listening(server);
    t.teardown(() => Promise.all([library.close(), closeServer(server)]));
    t.equal(warnings.length, when === 'before it listens' ? 1 : 0);
    if (when === 'after it listens') library.attach(server);
    for (let count = 0; count < 2; count += 1) await Client.open(`ws://127.0.0.1:${portOf(server)}/ws`);
    t.equal(warnings.length, 1);
    t.match(warnings[0], /express-arc.*option path/);
  });
}

t.test('an invalid option throws at start-up, and the error names it', async (t) => {
  t.throws(() => arc({ endpoint: agent.endpoint, maxPending: 0 }), { message: /maxPending/ });
  t.throws(() => arc({} as never), { message: /endpoint/ });
  t.throws(() => arc({ endpoint: agent.endpoint, pat: '/ws' } as never), { message: /pat/ });
});

t.test('require() returns the adapter function', async (t) => {
  const required = createRequire(import.meta.url)('express-arc');
  t.type(required, 'function');
  t.type(required({ endpoint: agent.endpoint }).attach, 'function');
});

t.test(
  'a path that does not start with / is refused when it is given, not with the first upgrade [F-507]',
  async (t) => {
    const { endpoint } = agent;
    refusesPaths(t, [(path) => arc({ endpoint, path }), (path) => arc({ endpoint }).attach(createServer(), { path })]);
  },
);
