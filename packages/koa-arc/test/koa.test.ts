import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import {
  Client,
  closeServer,
  gate,
  heldAuthentication,
  listen,
  listening,
  portOf,
  RawClient,
  refusesPaths,
  until,
  upgrade,
  upgradeText,
  withDeadline,
} from '@arc/host-contract';
import { startTestAgent } from '@arc/thread-core/testing';
import Koa from 'koa';
import { pinoHttp } from 'pino-http';
import t from 'tap';
import arc from '../src/index.js';

const agent = await startTestAgent();
// It is there for all tests, and does not keep the process.
agent.server.unref();

t.test('the default path is /ws', async (t) => {
  const app = new Koa();
  app.use(arc({ app, endpoint: agent.endpoint }));
  const port = await listen(t, app);
  for (const path of ['/ws', '/ws/']) {
    t.equal(await (await Client.open(`ws://127.0.0.1:${port}${path}`)).say('a'), 'a #1: hello', path);
  }
  for (const path of ['/WS', '/ws//', '/wsx']) t.equal((await upgrade(port, path)).status, 404, path);
});

t.test('ctx.arc is the relay for later middleware', async (t) => {
  const app = new Koa();
  const threads = arc({ app, endpoint: agent.endpoint });
  app.use(threads);
  app.use((ctx) => {
    ctx.body = { isRelay: ctx.arc === threads.relay, ...ctx.arc?.stats() };
  });
  const port = await listen(t, app);
  const client = await Client.open(`ws://127.0.0.1:${port}/ws`);
  await client.say('a');
  const stats = await (await fetch(`http://127.0.0.1:${port}/stats`)).json();
  t.match(stats, { isRelay: true, sessions: 1, threads: 1, pending: 0 });
});

t.test('middleware in front of it resumes after the upgrade, accepted or refused', async (t) => {
  const app = new Koa();
  const held = heldAuthentication();
  const ended: string[] = [];
  app.on('error', (error) => ended.push(String(error)));
  app.use(async (ctx, next) => {
    await next();
    ended.push(ctx.url);
  });
  const authenticate = ({ url = '' }) => url !== '/ws?held' || held.authenticate();
  app.use(arc({ app, endpoint: agent.endpoint, authenticate }));
  const port = await listen(t, app);
  await Client.open(`ws://127.0.0.1:${port}/ws?good`);
  await until(() => ended.length === 1, 'the good one is done');
  t.equal((await upgrade(port, '/ws?bad', { 'sec-websocket-key': 'bad' })).status, 400);
  await until(() => ended.length === 2, 'the bad one is done');
  const gone = new RawClient(port, upgradeText('/ws?held'));
  await until(() => held.asked === 1, 'authenticate runs for the client that will leave');
  gone.socket.end();
  await gone.closed;
  held.open();
  await until(() => ended.length === 3, 'the one that is gone is done');
  t.strictSame(ended, ['/ws?good', '/ws?bad', '/ws?held']);
});

t.test('access logs have status 101: pino-http, and middleware that reads ctx.status', async (t) => {
  const app = new Koa();
  const lines: string[] = [];
  const logged = gate();
  const write = (line: string): void => {
    lines.push(line);
    if (lines.length === 2) logged.open();
  };
  const log = pinoHttp({}, { write });
  app.use(async (ctx, next) => {
    log(ctx.req, ctx.res);
    await next();
    write(`${ctx.method} ${ctx.url} ${ctx.status}`);
  });
  app.use(arc({ app, endpoint: agent.endpoint }));
  await Client.open(`ws://127.0.0.1:${await listen(t, app)}/ws`);
  await withDeadline(logged.opened, 'both lines');
  t.ok(lines.includes('GET /ws 101'), lines.join());
  const line = JSON.parse(lines.find((text) => text.startsWith('{')) ?? '{}');
  t.match(line, { res: { statusCode: 101 }, msg: 'request completed' });
});

t.test("without the option app, attach(server) is enough for a server of one's own", async (t) => {
  const app = new Koa();
  const threads = arc({ endpoint: agent.endpoint });
  app.use(threads);
  const server = createServer(app.callback());
  threads.attach(server);
  await listening(server.listen(0, '127.0.0.1'));
  t.teardown(() => closeServer(server));
  t.equal(await (await Client.open(`ws://127.0.0.1:${portOf(server)}/ws`)).say('a'), 'a #1: hello');
});

t.test('an invalid option throws at start-up, and the error names it', async (t) => {
  const { endpoint } = agent;
  t.throws(() => arc({ endpoint, maxPending: 0 }), { message: /maxPending/ });
  t.throws(() => arc({ endpoint, path: 'ws' }), { message: /path/ });
  t.throws(() => arc({ endpoint, path: 7 as never }), { message: /path/ });
  t.throws(() => arc({} as never), { message: /endpoint/ });
});

t.test('require() returns the adapter function', async (t) => {
  const required = createRequire(import.meta.url)('koa-arc');
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
