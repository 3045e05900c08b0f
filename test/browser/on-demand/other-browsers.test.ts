// On demand (`npm run test:browsers`): the page in Firefox and in WebKit, where they are installed. On Debian:
// apt-get install firefox-esr webkit2gtk-driver xvfb, and `xvfb-run npm run test:browsers`, since WebKit needs a display.
import { existsSync } from 'node:fs';
import { until } from '@arc/test-client';
import t, { type Test } from 'tap';
import { TcpProxy } from '../../faults/proxy.js';
import { Example } from '../example.js';
import { type Driver, startFirefox, startWebKit } from './driver.js';

const FIREFOX = process.env.FIREFOX_PATH ?? '/usr/bin/firefox-esr';
const WEBKIT_DRIVER = process.env.WEBKIT_DRIVER_PATH ?? '/usr/bin/WebKitWebDriver';

const LAST = 12;
const NUMBERS = Array.from({ length: LAST }, (_, index) => index + 1).join(' ');
const TEXTS = "[...document.querySelectorAll('#transcripts .text')].map((element) => element.textContent)";

t.setTimeout(300_000);

/** The page of the example on Fastify, behind a TCP proxy. */
class Page {
  readonly #browser: Driver;
  #example: Example;
  readonly proxy: TcpProxy;
  readonly url: string;

  private constructor(browser: Driver, example: Example, proxy: TcpProxy) {
    this.#browser = browser;
    this.#example = example;
    this.proxy = proxy;
    this.url = `http://127.0.0.1:${proxy.port}/`;
  }

  static async open(t: Test, browser: Driver): Promise<Page> {
    const example = new Example('fastify');
    const proxy = await TcpProxy.start(Number(new URL(await example.url).port));
    const page = new Page(browser, example, proxy);
    t.teardown(async () => {
      await proxy.close();
      await page.#example.stop('SIGKILL');
    });
    await browser.goto(page.url);
    await page.connected();
    return page;
  }

  holds(expression: string): Promise<void> {
    return until(async () => (await this.#browser.evaluate(expression).catch(() => false)) === true, expression);
  }

  connected(): Promise<void> {
    return this.holds("document.querySelector('#connection-state')?.textContent === 'Connected'");
  }

  resumed(): Promise<void> {
    return this.holds("document.querySelector('#resumed')?.checkVisibility() === true");
  }

  shows(text: string): Promise<void> {
    return this.holds(`document.body.innerText.includes(${JSON.stringify(text)})`);
  }

  async say(text: string): Promise<void> {
    await this.#browser.evaluate("document.querySelector('#message').focus() ?? 1");
    await this.#browser.type(`${text}\n`);
  }

  /** Asks for a slow answer, and waits until it has begun. */
  async startCounting(): Promise<void> {
    await this.say(`Count slowly to ${LAST}`);
    await this.holds(`${TEXTS}.some((text) => /^1 2/.test(text) && text !== '${NUMBERS}')`);
  }

  /** So many answers have come, whole, and each number once. */
  counted(answers: number): Promise<void> {
    return this.holds(`${TEXTS}.filter((text) => text === '${NUMBERS}').length === ${answers}`);
  }

  /** Another process of the server, on the same port. */
  async restart(): Promise<void> {
    const { port } = new URL(await this.#example.url);
    await this.#example.stop('SIGKILL');
    await this.shows('No connection to the server');
    this.#example = new Example('fastify', { PORT: port });
    await this.#example.url;
  }
}

const browsers = [
  { name: 'Firefox', installed: existsSync(FIREFOX), start: () => startFirefox(FIREFOX) },
  {
    name: 'WebKit',
    installed: existsSync(WEBKIT_DRIVER) && process.env.DISPLAY !== undefined,
    start: () => startWebKit(WEBKIT_DRIVER),
  },
];

for (const { name, installed, start } of browsers) {
  t.test(name, { skip: !installed && `${name} is not installed, or has no display` }, async (t) => {
    const browser = await start();
    t.teardown(() => browser.close());
    t.comment(browser.version);

    await t.test('an answer streams', async (t) => {
      const page = await Page.open(t, browser);
      await page.say('My printer is broken');
      await page.shows('opened ticket');
    });

    await t.test('an answer continues after the connection was lost, and was refused for a while', async (t) => {
      const page = await Page.open(t, browser);
      await page.startCounting();
      await page.proxy.refuse();
      await page.proxy.reset();
      await page.shows('No connection to the server');
      await page.proxy.listen();
      await browser.evaluate("dispatchEvent(new Event('online'))");
      await page.resumed();
      await page.counted(1);
    });

    await t.test('an answer continues after a reload', async (t) => {
      const page = await Page.open(t, browser);
      await page.startCounting();
      await browser.reload();
      await page.connected();
      await page.resumed();
      await page.counted(1);
    });

    await t.test('an answer continues on a page that was left and come back to', async (t) => {
      const page = await Page.open(t, browser);
      await page.startCounting();
      await browser.evaluate(
        "addEventListener('pageshow', ({ persisted }) => { document.title = 'persisted ' + persisted; }) ?? 1",
      );
      await browser.evaluate("(location.href = '/config.json') && 1");
      await page.holds("location.pathname === '/config.json'");
      await browser.back();
      await page.holds("location.pathname === '/'");
      await page.connected();
      await page.counted(1);
      const title = await browser.evaluate('document.title');
      t.comment(title === 'persisted true' ? 'it was in the back-forward cache' : 'it was loaded again');
    });

    await t.test('a server that was killed is found again, and the page says that the chats are gone', async (t) => {
      const page = await Page.open(t, browser);
      await page.startCounting();
      await page.restart();
      await page.connected();
      await page.shows('The connection was lost before the answer was complete');
      await page.say('What is my ticket?');
      await page.shows('There is no ticket yet.');
    });

    const others = browser.problems.filter((problem) => !/can.t establish a connection|was interrupted/.test(problem));
    t.strictSame(others, [], 'no errors in the console, but for lost connections');
  });
}
