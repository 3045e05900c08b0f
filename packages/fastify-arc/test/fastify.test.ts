import { createRequire } from 'node:module';
import {
  Client,
  plain,
  portOf,
  RawClient,
  socketIo,
  to,
  until,
  upgrade,
  upgradeText,
  withDeadline,
} from '@arc/host-contract';
import { startTestAgent } from '@arc/thread-core/testing';
import websocket from '@fastify/websocket';
import Fastify, { type FastifyInstance } from 'fastify';
import t, { type Test } from 'tap';
import arc from '../src/index.js';

const agent = await startTestAgent();
// It is there for all tests, and does not keep the process.
agent.server.unref();
const { endpoint } = agent;

async function listen(t: Test, app: FastifyInstance): Promise<number> {
  t.teardown(() => withDeadline(app.close(), 'the app to close'));
  await app.listen({ port: 0, host: '127.0.0.1' });
  return portOf(app.server);
}

const open = (port: number, path: string): Promise<Client> => Client.open(`ws://127.0.0.1:${port}${path}`);
const says = async (port: number, path: string): Promise<string> => (await open(port, path)).say('a');

/** A WebSocket route of the app's own. */
function addEcho(app: FastifyInstance, path: string): void {
  app.get(path, { websocket: true }, (socket) => {
    socket.on('message', (text) => socket.send(text.toString()));
  });
}

t.test("it works beside the app's own @fastify/websocket, with its options and routes", async (t) => {
  const app = Fastify();
  const closes: number[] = [];
  await app.register(websocket, { options: { maxPayload: 100, clientTracking: true } });
  await app.register(arc, arc.options({ endpoint, maxFrameBytes: 200 }));
  app.register(async (scope) => addEcho(scope, '/echo'));
  const port = await listen(t, app);
  t.equal(await says(port, '/ws'), 'a #1: hello');
  const echo = await open(port, '/echo');
  t.match(await echo.exchange({ type: 'pong', id: 1 }), [{ type: 'pong', id: 1 }]);
  echo.socket.send('x'.repeat(101));
  closes.push((await echo.closed).code);
  const client = await open(port, '/ws');
  client.socket.send(JSON.stringify({ type: 'ping', id: 'x'.repeat(110) }));
  t.match(await client.next(), { type: 'pong' }, "the app's limit is that of its own routes");
  client.socket.send('x'.repeat(201));
  closes.push((await client.closed).code);
  t.strictSame(closes, [1009, 1009]);
});

t.test('it works beside a @fastify/websocket that does not track its clients', async (t) => {
  const app = Fastify();
  await app.register(websocket, { options: { clientTracking: false } });
  await app.register(arc, { endpoint });
  const port = await listen(t, app);
  const client = await open(port, '/ws');
  t.equal(await client.say('a'), 'a #1: hello');
  await withDeadline(app.close(), 'the app to close');
  t.equal((await client.closed).code, 1001);
});

t.test('it registers @fastify/websocket, and routes of the app can use it', async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint });
  t.ok(app.hasPlugin('@fastify/websocket'));
  addEcho(app, '/echo');
  app.route({
    method: 'GET',
    url: '/both',
    handler: async () => 'a page',
    wsHandler: (socket) => socket.send('{"type":"socket"}'),
  });
  const library = socketIo();
  library.attach(app.server);
  t.teardown(() => library.close());
  const port = await listen(t, app);
  t.match(await (await open(port, '/echo')).exchange({ type: 'pong' }), [{ type: 'pong' }]);
  t.equal((await plain(port, '/both')).body, 'a page');
  t.strictSame(await (await open(port, '/both')).next(), { type: 'socket' }, 'also beside another library');
  t.equal(await says(port, '/ws'), 'a #1: hello');
});

t.test('beside a @fastify/websocket of a sibling scope, each upgrade is handled once', async (t) => {
  for (const order of ['before', 'after']) {
    const app = Fastify();
    const own = async (scope: FastifyInstance): Promise<void> => {
      await scope.register(websocket);
      addEcho(scope, '/echo');
    };
    const threads = async (scope: FastifyInstance): Promise<void> => void (await scope.register(arc, { endpoint }));
    app.register(order === 'before' ? own : threads);
    app.register(order === 'before' ? threads : own);
    const port = await listen(t, app);
    t.match(await (await open(port, '/echo')).exchange({ type: 'pong' }), [{ type: 'pong' }], order);
    t.equal(await says(port, '/ws'), 'a #1: hello', order);
  }
});

t.test('several relays work in one scope, in sibling scopes, and in nested scopes', async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint, path: '/one' });
  await app.register(arc, { endpoint, path: '/two', agents: ['b'] });
  app.register(
    async (scope) => {
      await scope.register(arc, { endpoint });
      scope.register(async (inner) => void (await inner.register(arc, { endpoint, path: '/inner' })), {
        prefix: '/more',
      });
    },
    { prefix: '/left' },
  );
  app.register(async (scope) => void (await scope.register(arc, { endpoint })), { prefix: '/right' });
  const port = await listen(t, app);
  for (const path of ['/one', '/left/ws', '/left/more/inner', '/right/ws']) {
    t.equal(await says(port, path), 'a #1: hello', path);
  }
  const client = await open(port, '/two');
  t.match(await client.exchange(to('a')), [{ type: 'error', data: { code: -44_002 } }]);
  await withDeadline(app.close(), 'the app to close');
  t.equal((await client.closed).code, 1001);
});

t.test('several relays in one scope each have their own maxFrameBytes', async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint, path: '/small', maxFrameBytes: 1024 });
  await app.register(arc, { endpoint, path: '/large', maxFrameBytes: 10_000 });
  const port = await listen(t, app);
  const long = to('a', 'x'.repeat(5000));
  t.match((await (await open(port, '/large')).exchange(long)).at(-1), { type: 'response' });
  const small = await open(port, '/small');
  small.send(long);
  t.equal((await small.closed).code, 1009);
});

t.test('relays work in sibling scopes that do not share a registered plugin', async (t) => {
  const app = Fastify();
  for (const prefix of ['/left', '/right']) {
    app.register(
      async (scope) => {
        await scope.register(arc, { endpoint });
        addEcho(scope, '/echo');
      },
      { prefix },
    );
  }
  const port = await listen(t, app);
  t.notOk(app.hasDecorator('arc'), 'nothing leaks to the scope above');
  const stays = new RawClient(port, upgradeText('/nowhere'));
  await stays.receives('404');
  await withDeadline(new Promise((resolve) => stays.socket.once('end', resolve)), 'a client that stays to be left');
  stays.socket.end();
  for (const prefix of ['/left', '/right']) {
    t.equal(await says(port, `${prefix}/ws`), 'a #1: hello');
    t.match(await (await open(port, `${prefix}/echo`)).exchange({ type: 'pong' }), [{ type: 'pong' }]);
  }
});

t.test('an app that ignores a slash at the end, and a prefix that ends with one [F-330]', async (t) => {
  for (const ignoreTrailingSlash of [true, false]) {
    const app = Fastify({ routerOptions: { ignoreTrailingSlash } });
    await app.register(arc, { endpoint, prefix: '/api/' });
    const port = await listen(t, app);
    for (const path of ['/api/ws', '/api/ws/']) t.equal(await says(port, path), 'a #1: hello');
  }
});

t.test('prefixes work: of the plugin, of the scope, of both, and with a parameter', async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint, prefix: '/own' });
  app.register(async (scope) => void (await scope.register(arc, { endpoint, prefix: '/own' })), { prefix: '/scope' });
  app.register(async (scope) => void (await scope.register(arc, { endpoint })), { prefix: '/of/:tenant' });
  const port = await listen(t, app);
  for (const path of ['/own/ws', '/scope/own/ws', '/of/ann/ws']) t.equal(await says(port, path), 'a #1: hello', path);
  for (const path of ['/ws', '/scope/ws', '/of/ws']) t.equal((await upgrade(port, path)).status, 404, path);
});

t.test('hooks of its own scope run before the upgrade, and hooks of sibling scopes do not', async (t) => {
  for (const hook of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    const app = Fastify();
    const guard = async (_request: unknown, reply: { code(status: number): { send(body: string): unknown } }) =>
      reply.code(401).send('who are you?');
    app.register(async (scope) => {
      scope.addHook(hook as 'onRequest', guard as never);
      await scope.register(arc, { endpoint, path: '/guarded' });
    });
    app.register(async (scope) => void (await scope.register(arc, { endpoint, path: '/open' })));
    const port = await listen(t, app);
    t.match(await upgrade(port, '/guarded'), { status: 401, body: 'who are you?' }, hook);
    t.equal(await says(port, '/open'), 'a #1: hello', hook);
  }
});

t.test('app.arc is the typed relay, and app.log is its logger', async (t) => {
  const lines: { level: number; msg: string }[] = [];
  const app = Fastify({ logger: { level: 'info', stream: { write: (line) => void lines.push(JSON.parse(line)) } } });
  await app.register(arc, { endpoint, logger: undefined });
  const port = await listen(t, app);
  const client = await open(port, '/ws');
  await client.say('a');
  t.match(app.arc.stats(), { sessions: 1, threads: 1, pending: 0 });
  client.socket.terminate();
  await agent.waitFor('idle');
  t.match(
    lines.filter(({ msg }) => msg.includes('connection')),
    [{ level: 30, msg: 'a connection was lost' }],
  );
});

t.test(
  "app.arc of an encapsulated scope is that scope's relay, and the option decorator names a second one",
  async (t) => {
    const app = Fastify();
    await app.register(arc, { endpoint, path: '/outer' });
    const scopes: FastifyInstance[] = [];
    app.register(async (scope) => {
      scopes.push(scope);
      await scope.register(arc, { endpoint, path: '/inner' });
      await scope.register(arc, { endpoint, path: '/second', decorator: 'second' });
    });
    const port = await listen(t, app);
    const [scope] = scopes as [FastifyInstance & { second?: FastifyInstance['arc'] }];
    t.not(scope.arc, app.arc);
    await open(port, '/inner');
    t.strictSame(
      [app.arc, scope.arc, scope.second].map((relay) => relay?.stats().sessions),
      [0, 1, 0],
    );
    await open(port, '/second');
    t.equal(scope.second?.stats().sessions, 1);
    await t.rejects(async () => Fastify().decorate('taken', 1).register(arc, { endpoint, decorator: 'taken' }), {
      code: /FST_ERR_DEC/,
    });
  },
);

t.test('rewriteUrl is applied before the path of an upgrade is compared', async (t) => {
  const app = Fastify({ rewriteUrl: ({ url = '' }) => url.replace(/^\/public/, '') });
  await app.register(arc, { endpoint });
  const library = socketIo();
  library.attach(app.server);
  t.teardown(() => library.close());
  const port = await listen(t, app);
  for (const path of ['/public/ws', '/ws']) t.equal(await says(port, path), 'a #1: hello', path);
});

t.test("WebSocket routes of the app below the relay's path, and with patterns, still work", async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint, path: '/of/:tenant/ws' });
  addEcho(app, '/of/ann/echo');
  addEcho(app, '/of/ann/ws/echo');
  const port = await listen(t, app);
  t.equal(await says(port, '/of/bob/ws'), 'a #1: hello');
  for (const path of ['/of/ann/echo', '/of/ann/ws/echo']) {
    t.match(await (await open(port, path)).exchange({ type: 'pong' }), [{ type: 'pong' }], path);
  }
});

t.test("Fastify's access log has status 101", async (t) => {
  const lines: { msg: string; res?: { statusCode: number } }[] = [];
  const app = Fastify({ logger: { level: 'info', stream: { write: (line) => void lines.push(JSON.parse(line)) } } });
  await app.register(arc, { endpoint });
  const port = await listen(t, app);
  await open(port, '/ws');
  await until(() => lines.some(({ msg }) => msg === 'request completed'), 'the request is logged');
  t.match(
    lines.find(({ msg }) => msg === 'request completed'),
    { res: { statusCode: 101 } },
  );
});

t.test('the option logLevel is that of the route', async (t) => {
  const lines: { msg: string }[] = [];
  const app = Fastify({ logger: { level: 'info', stream: { write: (line) => void lines.push(JSON.parse(line)) } } });
  await app.register(arc, { endpoint, logLevel: 'warn' });
  app.get('/page', async () => 'a page');
  const port = await listen(t, app);
  await (await open(port, '/ws')).say('a');
  t.equal((await plain(port, '/ws')).status, 426);
  await plain(port, '/page');
  await until(() => lines.some(({ msg }) => msg === 'request completed'), 'the page is logged');
  t.equal(lines.filter(({ msg }) => msg === 'incoming request').length, 1, 'and nothing else');
});

t.test('injectWS works without a port', async (t) => {
  const app = Fastify();
  await app.register(arc, { endpoint, authenticate: ({ headers }) => headers.authorization });
  await app.ready();
  t.teardown(() => withDeadline(app.close(), 'the app to close'));
  const socket = await app.injectWS('/ws', { headers: { authorization: 'ann' } });
  const said = new Promise<string>((resolve) => socket.once('message', (text) => resolve(text.toString())));
  socket.send(JSON.stringify(to('a', 'by injection')));
  t.match(await withDeadline(said, 'an answer'), /a #1: by injection/);
  t.match(app.arc.stats(), { sessions: 1, bytes: { received: 0, sent: 0 } }, 'it has no socket to count on');
  await t.rejects(app.injectWS('/ws'), { message: /401/ });
  socket.terminate();
});

t.test(
  'an upgrade that arrives after @fastify/websocket has stopped is refused, and does not delay the shutdown',
  async (t) => {
    const app = Fastify();
    let late: Promise<{ status: number }> | undefined;
    await app.register(arc, { endpoint });
    // Hooks run in turn: this one after those of the plugin.
    app.addHook('preClose', async () => {
      late = upgrade(portOf(app.server), '/ws');
      await late;
    });
    await listen(t, app);
    await withDeadline(app.close(), 'the app to close');
    t.match(await late, { status: 503 });
  },
);

t.test('an invalid option makes the registration fail, and the error names it', async (t) => {
  const wrong: [options: object, name: RegExp][] = [
    [{ endpoint, maxPending: 0 }, /maxPending/],
    [{ endpoint, heartBeat: 1 }, /heartBeat/],
    [{ endpoint, path: 'ws' }, /path/],
    [{ endpoint, path: 7 }, /path/],
    [{}, /endpoint/],
  ];
  for (const [options, message] of wrong) {
    const app = Fastify();
    await t.rejects(async () => app.register(arc, options as never), { message }, String(message));
  }
});

t.test('require() returns the adapter function', async (t) => {
  const required = createRequire(import.meta.url)('fastify-arc');
  t.type(required.options, 'function');
  t.type(required, 'function');
  const app = Fastify();
  await app.register(required, { endpoint });
  t.type(app.arc.stats, 'function');
});
