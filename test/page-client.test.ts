// What PROTOCOL.md asks of clients, of the one that is here: the chat page of the examples.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startTestAgent } from '@arc/thread-core/testing';
import type { Browser, Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';
import { ChatPage, launchChromium } from './browser/chat-page.js';
import { Example } from './browser/example.js';

t.setTimeout(180_000);

let browser: Browser;
let example: Example;

t.before(async () => {
  browser = await launchChromium();
  example = new Example('fastify');
  await example.url;
});

t.teardown(async () => {
  await browser?.close();
  await example?.stop('SIGKILL');
});

/** The page, from a server whose WebSockets are the test's own. Gives its address. */
async function serve(t: Test, onSocket: (socket: WebSocket) => void): Promise<string> {
  const pages = await example.url;
  const server = createServer((request, response) => {
    void fetch(new URL(request.url ?? '/', pages)).then(async (found) => {
      const type = found.headers.get('content-type') ?? 'text/plain';
      response.writeHead(found.status, { 'content-type': type }).end(Buffer.from(await found.arrayBuffer()));
    });
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', onSocket);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/**
 * A page that keeps how long it wants to wait before it connects again, in `delays`. It does not wait at all then, or
 * for ever.
 */
async function timeless(t: Test, waits: 'not at all' | 'for ever'): Promise<Page> {
  const context = await browser.newContext();
  t.teardown(() => context.close());
  const page = await context.newPage();
  await page.addInitScript((waits) => {
    const delays: number[] = [];
    const wait = globalThis.setTimeout;
    const setTimeout = (then: () => void, delay: number): unknown => {
      delays.push(delay);
      return waits === 'for ever' ? 0 : wait(then, 0);
    };
    Object.assign(globalThis, { delays, setTimeout });
  }, waits);
  return page;
}

const delaysOf = (page: Page): Promise<number[]> =>
  page.evaluate(() => (globalThis as unknown as { delays: number[] }).delays);

t.test('the page gives each send an id of its own [F-67]', async (t) => {
  const chat = await ChatPage.open(browser, await example.url);
  t.teardown(() => chat.close());
  for (const agent of ['Support', 'HR']) {
    await chat.choose(agent);
    for (const text of ['one', 'two']) {
      await chat.field(agent).fill(text);
      await chat.field(agent).press('Enter');
    }
  }
  await chat.settled('HR');
  await chat.choose('Support');
  await chat.settled('Support');
  const ids = chat.frames.filter(({ type }) => ['done', 'response'].includes(type)).map(({ id }) => id);
  t.ok(ids.every((id) => typeof id === 'string'));
  t.equal(new Set(ids).size, 4);
});

t.test('the page takes an answer as a whole, and one in pieces, whatever it asked for [F-97]', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const server = new Example('fastify', { ARC_ENDPOINT: agent.endpoint });
  t.teardown(() => server.stop('SIGKILL'));
  const chat = await ChatPage.open(browser, await server.url);
  t.teardown(() => chat.close());
  await chat.say('Support', 'hello');
  const message = { role: 'agent', parts: [{ type: 'TextPart', content: 'all at once' }] };
  const result = { type: 'chat', chat: { chatId: agent.requests[0]?.chatId, status: 'ACTIVE', message } };
  const body = JSON.stringify({ arc: '1.0', id: '1', responseAgent: 'support', targetAgent: 'me', result });
  agent.script('chat.message', { status: 200, body, headers: { 'content-type': 'application/json' } });
  await chat.say('Support', 'piece by piece, please');
  t.equal(agent.requests[1]?.params.stream, true, 'it asked for a stream');
  await chat.log('Support').getByText('all at once').waitFor();
  t.equal(chat.framesOf('support', 'response').length, 1);

  await chat.page.getByRole('switch', { name: 'Stream answers' }).press('Space');
  const piece = (content: string) => ({ data: { message: { role: 'agent', parts: [{ type: 'TextPart', content }] } } });
  agent.script('chat.message', { events: [piece('bit by '), piece('bit')], done: true });
  await chat.say('Support', 'in one, please');
  t.notOk(agent.requests[2]?.params.stream, 'it asked for no stream');
  await chat.log('Support').getByText('bit by bit').waitFor();
  t.equal(chat.framesOf('support', 'done').length, 2);
  t.strictSame(chat.problems, []);
});

t.test('the page connects again after 1001 and 1013, and waits longer each time [F-151] [F-152]', async (t) => {
  for (const code of [1001, 1013]) {
    const page = await timeless(t, 'not at all');
    let connections = 0;
    const url = await serve(t, (socket) => {
      connections += 1;
      socket.close(code);
    });
    await page.goto(url);
    await page.waitForFunction(() => (globalThis as unknown as { delays: number[] }).delays.length >= 6);
    // Later ones come to a limit.
    const delays = (await delaysOf(page)).slice(0, 6);
    t.strictSame(
      delays,
      delays.toSorted((one, other) => one - other),
    );
    t.ok(Number(delays[5]) > 4 * Number(delays[0]), delays.join());
    t.ok(connections >= 6);
  }
});

t.test('the page does by the close code what it does, whatever the reason says [F-48]', async (t) => {
  for (const [code, comesBack] of [
    [1001, true],
    [4401, false],
  ] as const) {
    for (const reason of ['', 'Never come back', 'Try again', '4401', '1001']) {
      const page = await timeless(t, 'for ever');
      await page.goto(await serve(t, (socket) => socket.close(code, reason)));
      await page.getByRole('button', { name: 'Reconnect now' }).waitFor();
      t.equal((await delaysOf(page)).length, comesBack ? 1 : 0, `${code}, ${reason}`);
    }
  }
});
