import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { createRelay } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
import { build } from 'esbuild';
import type { Browser, Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import { launchChromium } from './browser/chat-page.js';

t.setTimeout(120_000);

let browser: Browser;
let script: string;

t.before(async () => {
  browser = await launchChromium();
  const entry = fileURLToPath(new URL('../packages/thread-client/test/browser/app.ts', import.meta.url));
  // The development build of React, whose StrictMode mounts everything twice.
  const define = { 'process.env.NODE_ENV': '"development"' };
  const result = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false, define });
  script = result.outputFiles[0]?.text ?? '';
});

t.teardown(() => browser?.close());

/** The app in Chromium, with a real relay and a real agent behind it. */
async function open(t: Test) {
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint });
  const server = createServer((request, response) => {
    const isScript = request.url === '/app.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(
      isScript ? script : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/app.js"></script>',
    );
  });
  const sockets = new WebSocketServer({ server, path: '/ws', ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const context = await browser.newContext();
  t.teardown(async () => {
    await context.close();
    await relay.close();
    server.close();
    server.closeAllConnections();
    await agent.close();
  });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.locator('#connection').getByText('open').waitFor();
  return { agent, relay, page, problems };
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

const messages = (page: Page): Promise<string[]> => page.locator('#messages li').allTextContents();

t.test('useThread shows a conversation as it grows, in StrictMode, and all users of a thread share it', async (t) => {
  const { agent, page, problems } = await open(t);
  let goOn = (): void => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  agent.script('chat.start', async function* () {
    yield 'first ';
    await gate;
    yield 'second';
  });
  t.equal(await page.locator('#status').textContent(), 'ready');
  await say(page, 'Hello');
  await page.locator('li').getByText('agent: first').waitFor();
  t.equal(await page.locator('#status').textContent(), 'streaming');
  goOn();
  await page.locator('#status').getByText('ready').waitFor();
  t.strictSame(await messages(page), ['user: Hello', 'agent: first second']);
  t.equal(await page.locator('#same').textContent(), 'true');
  await say(page, 'again');
  await page.locator('li').getByText('support #2: again').waitFor();
  t.equal(agent.counters.started, 1);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  await page.locator('#messages:empty').waitFor({ state: 'attached' });
  await agent.waitFor('idle');
  t.strictSame(problems, []);
});

t.test('stop cancels the answer that is under way, and an error of the agent is the error of the thread', async (t) => {
  const { agent, page, problems } = await open(t);
  const gate = agent.hold();
  await say(page, 'Hello');
  await gate.arrived;
  t.equal(await page.locator('#status').textContent(), 'submitted');
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('li[data-status=cancelled]').waitFor();
  t.equal(await page.locator('#status').textContent(), 'ready');
  gate.release();
  agent.script('chat.start', { error: { code: -42_004, message: 'Broken' } });
  await say(page, 'again');
  await page.locator('#error').getByText('Broken').waitFor();
  t.equal(await page.locator('#status').textContent(), 'error');
  t.strictSame(problems, []);
});

t.test('a provider that is unmounted ends its session, and one that comes back has a new one', async (t) => {
  const { agent, page, problems } = await open(t);
  await say(page, 'Hello');
  await page.locator('li').getByText('support #1: Hello').waitFor();
  await page.getByRole('button', { name: 'Leave' }).click();
  await agent.waitFor('idle');
  await page.getByRole('button', { name: 'Come back' }).click();
  await say(page, 'Hello');
  await page.locator('li').getByText('support #1: Hello').waitFor();
  t.equal(agent.counters.started, 2);
  t.strictSame(problems, []);
});
