import { createHmac } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createNotificationHandler } from '@arc/thread-core';
import type { TaskNotification } from '@arc/thread-protocol';
import express from 'express';
import express4 from 'express4';
import fastify from 'fastify';
import Koa from 'koa';
import Koa2 from 'koa2';
import t, { type Test } from 'tap';

const SECRET = 'secret';
const BODY = JSON.stringify({
  arc: '1.0',
  method: 'task.notification',
  taskId: 'task-1',
  event: 'TASK_COMPLETED',
  data: { status: 'COMPLETED', message: 'Fertig: 100 €' },
});

/** Signs as an agent that signs the body that it sends. */
const signature = `sha256=${createHmac('sha256', SECRET).update(BODY).digest('base64')}`;

function makeHandler() {
  const received: TaskNotification[] = [];
  const handler = createNotificationHandler({
    verify: SECRET,
    onNotification: (notification) => void received.push(notification),
  });
  return { handler, received };
}

type Made = ReturnType<typeof makeHandler>;

async function serve(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  return addressOf(server);
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const HOSTS: Record<string, (t: Test, made: Made) => Promise<string>> = {
  'node:http': (t, { handler }) => serve(t, (request, response) => void handler.node(request, response)),
  'Express 5': (t, { handler }) => serve(t, express().post('/hook', handler.express)),
  'Express 4': (t, { handler }) => serve(t, express4().post('/hook', handler.express)),
  'Express, behind express.json() that keeps rawBody': (t, { handler }) => {
    const verify = (request: object, _response: unknown, body: Buffer): void => {
      Object.assign(request, { rawBody: body });
    };
    return serve(t, express().use(express.json({ verify })).post('/hook', handler.express));
  },
  'Koa 3': (t, { handler }) => serve(t, new Koa().use((context) => handler.koa(context)).callback()),
  'Koa 2': (t, { handler }) => serve(t, new Koa2().use((context) => handler.koa(context)).callback()),
  Fastify: async (t, { handler }) => {
    const app = fastify();
    app.post('/json', async ({ body }) => body);
    await app.register(handler.fastify, { url: '/hook' });
    await app.listen({ port: 0, host: '127.0.0.1' });
    t.teardown(() => app.close());
    const headers = { 'content-type': 'application/json' };
    const other = await fetch(`${addressOf(app.server)}/json`, { method: 'POST', body: '{"a":1}', headers });
    t.strictSame(await other.json(), { a: 1 }, 'other routes have their bodies parsed');
    return addressOf(app.server);
  },
};

for (const [name, start] of Object.entries(HOSTS)) {
  t.test(`notifications of tasks are received with ${name}`, async (t) => {
    const made = makeHandler();
    const origin = await start(t, made);
    const post = (headers: Record<string, string>) =>
      fetch(`${origin}/hook`, {
        method: 'POST',
        body: BODY,
        headers: { 'content-type': 'application/json', ...headers },
      });
    const answer = await post({ 'x-arc-signature': signature });
    t.equal(answer.status, 200);
    t.match(answer.headers.get('content-type'), 'application/json');
    t.strictSame(await answer.json(), { success: true });
    t.match(made.received, [{ taskId: 'task-1', data: { message: 'Fertig: 100 €' } }]);
    const refused = await post({ 'x-arc-signature': signature.replace(/.=$/, 'A=') });
    t.match([refused.status, await refused.json()], [401, { error: { code: -44_001 } }]);
    t.equal(made.received.length, 1);
  });
}

t.test('behind a body parser that keeps nothing a signature cannot be checked, and that is an error', async (t) => {
  const made = makeHandler();
  const origin = await serve(t, express().use(express.json()).post('/hook', made.handler.express));
  const headers = { 'content-type': 'application/json', 'x-arc-signature': signature };
  const { status } = await fetch(`${origin}/hook`, { method: 'POST', body: BODY, headers });
  t.equal(status, 500);
  t.strictSame(made.received, []);
  const open = createNotificationHandler({ onNotification: (notification) => void made.received.push(notification) });
  const unsigned = await serve(t, express().use(express.json()).post('/hook', open.express));
  t.equal((await fetch(`${unsigned}/hook`, { method: 'POST', body: BODY, headers })).status, 200);
  t.equal(made.received.length, 1, 'where nothing is to be checked, the parsed body will do');
});
