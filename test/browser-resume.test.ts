import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, Page } from 'playwright-core';
import t, { type Test } from 'tap';
import { ChatPage, launchChromium } from './browser/chat-page.js';
import { Example } from './browser/example.js';
import { TcpProxy } from './faults/proxy.js';

// The page of each example, through everything that happens to a page and its network.
const EXAMPLES = ['fastify', 'express', 'express-ws', 'koa', 'ws'];
/** Since the page is the same, most of it is tested on one example, or with `BROWSER_EXAMPLES=all` on all of them. */
const isAll = process.env.BROWSER_EXAMPLES === 'all';
if (isAll) EXAMPLES.push('hono', 'http');
const LAST = 12;
const NUMBERS = Array.from({ length: LAST }, (_, index) => index + 1).join(' ');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

t.setTimeout(isAll ? 1_800_000 : 300_000);

// The tests wait for answers that are slow: two of them at a time.
t.jobs = 2;

let browser: Browser;
t.before(async () => {
  browser = await launchChromium();
});
t.teardown(() => browser?.close());

/** An example behind a TCP proxy, and its page. */
async function open(t: Test, name: string, chromium = browser) {
  const example = new Example(name);
  const { port } = new URL(await example.url);
  const proxy = await TcpProxy.start(Number(port));
  const url = `http://127.0.0.1:${proxy.port}/`;
  const chat = await ChatPage.open(chromium, url);
  t.teardown(async () => {
    await chat.close();
    await proxy.close();
    await example.stop('SIGKILL');
  });
  return { chat, proxy, url, port, example };
}

/** Asks for a slow answer, and waits until it has begun. */
async function startCounting(chat: ChatPage, last = LAST): Promise<void> {
  await chat.field('Support').fill(`Count slowly to ${last}`);
  await chat.field('Support').press('Enter');
  await chat.log('Support').locator('.text').getByText(/^1 2/).waitFor();
}

/** The answer has come, whole, and each number once. */
async function counted(t: Test, chat: ChatPage): Promise<void> {
  await chat.settled('Support');
  t.equal(await chat.log('Support').locator('.text').last().textContent(), NUMBERS);
}

async function resumed(page: Page): Promise<void> {
  await page.getByText('Resumed', { exact: true }).waitFor();
}

const otherProblems = ({ problems }: ChatPage): string[] =>
  problems.filter((problem) => !/ERR_CONNECTION_REFUSED|ERR_INTERNET_DISCONNECTED|ERR_CONNECTION_RESET/.test(problem));

for (const name of EXAMPLES) {
  t.test(`${name}: an answer continues after offline and online again, and after a reload`, async (t) => {
    const { chat, proxy } = await open(t, name);
    await startCounting(chat);
    await chat.page.context().setOffline(true);
    await proxy.refuse();
    await chat.page.getByRole('status').getByText('No connection to the server').waitFor();
    await proxy.listen();
    await chat.page.context().setOffline(false);
    await resumed(chat.page);
    await counted(t, chat);

    await startCounting(chat);
    await chat.page.reload();
    await chat.connected();
    await resumed(chat.page);
    await counted(t, chat);
    t.equal(await chat.log('Support').getByText(`Count slowly to ${LAST}`).count(), 2, 'nothing is shown twice');
    t.strictSame(otherProblems(chat), []);
  });
}

for (const name of isAll ? EXAMPLES : ['fastify']) {
  t.test(`${name}: a page that was frozen continues where it stopped, also if its connection is lost`, async (t) => {
    const { chat, proxy } = await open(t, name);
    const session = await chat.page.context().newCDPSession(chat.page);
    const freeze = (state: 'frozen' | 'active') => session.send('Page.setWebLifecycleState', { state });
    await startCounting(chat);
    await freeze('frozen');
    await freeze('active');
    await freeze('frozen');
    // As in a laptop that sleeps: when it wakes up, the connection is gone.
    await proxy.reset();
    await freeze('active');
    await resumed(chat.page);
    await counted(t, chat);
    t.strictSame(otherProblems(chat), []);
  });

  t.test(`${name}: a page that is left and come back to continues its chat`, async (t) => {
    const { chat, url } = await open(t, name);
    await startCounting(chat);
    await chat.page.goto(`${url}config.json`);
    await chat.page.goBack();
    await chat.connected();
    await counted(t, chat);
  });

  t.test(`${name}: a page that returns from the back-forward cache continues where it stopped`, async (t) => {
    const caching = await launchChromium({ backForwardCache: true });
    t.teardown(() => caching.close());
    const { chat } = await open(t, name, caching);
    const { page } = chat;
    await startCounting(chat);
    await page.evaluate(
      "addEventListener('pageshow', (event) => { document.body.dataset.persisted = event.persisted; })",
    );
    await page.evaluate("location.href = '/config.json'");
    await page.waitForURL(/config/);
    await page.goBack({ waitUntil: 'commit' });
    await page.locator('body[data-persisted=true]').waitFor();
    await chat.connected();
    await counted(t, chat);
    // Chromium says the first of every page that it keeps with a connection, and config.json has no icon.
    const others = chat.problems.filter((problem) => !/Page entered Back-Forward Cache|404/.test(problem));
    t.strictSame(others, []);
  });

  t.test(`${name}: two tabs have sessions of their own`, async (t) => {
    const { chat, url } = await open(t, name);
    await chat.say('Support', 'My printer is broken');
    const other = await chat.page.context().newPage();
    await other.goto(url);
    await other.getByRole('status').getByText('Connected', { exact: true }).waitFor();
    await other.getByRole('textbox').fill('What is my ticket?');
    await other.getByRole('textbox').press('Enter');
    await other.getByText('There is no ticket yet.').waitFor();
    await chat.say('Support', 'What is my ticket?');
    await chat
      .log('Support')
      .getByText(/^Your ticket is/)
      .waitFor();
    t.strictSame(chat.problems, []);
  });

  t.test(`${name}: a duplicated tab gets a session of its own, and leaves the first one alone`, async (t) => {
    const { chat } = await open(t, name);
    await chat.say('Support', 'My printer is broken');
    await startCounting(chat);
    // The browser copies sessionStorage, as for "Duplicate tab".
    const [duplicate] = await Promise.all([
      chat.page.context().waitForEvent('page'),
      chat.page.evaluate('void window.open(location.href)'),
    ]);
    await duplicate.getByRole('status').getByText('Connected', { exact: true }).waitFor();
    t.ok(await duplicate.getByText('Resumed', { exact: true }).isHidden());
    await duplicate.getByText('Not answered').waitFor();
    await duplicate.getByText('This chat goes on in the tab that this one is a copy of.').waitFor();
    await counted(t, chat);
    t.equal(await chat.page.getByRole('status').getByText('Connected', { exact: true }).count(), 1);
    await chat.say('Support', 'What did I ask you?');
    await chat
      .log('Support')
      .getByText(/^You asked about/)
      .waitFor();
    t.strictSame(chat.problems, []);
  });

  t.test(`${name}: an answer can be stopped after it was resumed`, async (t) => {
    const { chat, proxy } = await open(t, name);
    // It must not be complete before it is stopped, however slow this machine is.
    await startCounting(chat, 500);
    await proxy.reset();
    await resumed(chat.page);
    await chat.page.getByRole('button', { name: 'Stop' }).click();
    await chat.log('Support').getByText('Stopped here.').waitFor();
    t.strictSame(otherProblems(chat), []);
  });

  t.test(`${name}: axe finds nothing on the page, at phone and desktop size, light and dark`, async (t) => {
    const example = new Example(name);
    t.teardown(() => example.stop('SIGKILL'));
    const chat = await ChatPage.open(browser, await example.url, { colorScheme: 'light' });
    await chat.say('Support', 'My **printer** is broken, see [this](https://example.com/)\n\n| a |\n|---|\n| `b` |');
    await chat.say('Support', 'Please fail');
    await chat.page.reload();
    await chat.connected();
    await resumed(chat.page);
    await chat.page.evaluate(axe);
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const [device, viewport] of Object.entries({
        phone: { width: 375, height: 700 },
        desktop: { width: 1200, height: 800 },
      })) {
        await chat.page.emulateMedia({ colorScheme });
        await chat.page.setViewportSize(viewport);
        const { violations } = await chat.page.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>(
          'axe.run()',
        );
        t.strictSame(
          violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join()}`),
          [],
          `${device}, ${colorScheme}`,
        );
        if (process.env.SCREENSHOTS !== undefined) {
          await chat.page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${device}-${colorScheme}.png` });
        }
      }
    }
    t.strictSame(chat.problems, []);
    await chat.close();
  });

  // browser.test.ts has the same for one example.
  if (!isAll) continue;
  t.test(`${name}: a server that was killed is found again, and the page says that its chats are gone`, async (t) => {
    const { chat, proxy, port, example } = await open(t, name);
    await chat.say('Support', 'My printer is broken');
    await example.stop('SIGKILL');
    await chat.page.getByRole('status').getByText('No connection to the server').waitFor();
    const again = new Example(name, { PORT: port });
    t.teardown(() => again.stop('SIGKILL'));
    await again.url;
    await proxy.reset();
    await chat.connected();
    await chat.log('Support').getByText('The connection was lost and the chat has ended with it.').waitFor();
    await chat.say('Support', 'What is my ticket?');
    await chat.log('Support').getByText('There is no ticket yet.').waitFor();
    // The proxy accepts connections for a server that is away, and closes them.
    const others = otherProblems(chat).filter((problem) => !/^WebSocket connection to \S+ failed: /.test(problem));
    t.strictSame(others, []);
  });
}
