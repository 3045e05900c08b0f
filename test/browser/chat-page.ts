import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from 'playwright-core';
import { plainNode } from '../child-process.js';

/** What the relay sent to the page, as far as the tests look at it. */
export interface SeenFrame {
  type: string;
  id?: string;
  agent_id?: string;
  trace_id?: string;
  data?: { chatId?: string; message?: { parts: Array<{ content: string }> } };
}

/** Playwright switches the back-forward cache off, unless it is wanted. */
export async function launchChromium({ backForwardCache = false } = {}): Promise<Browser> {
  const setup = fileURLToPath(new URL('setup.mjs', import.meta.url));
  const { execPath, execArgv } = plainNode(setup);
  const executablePath = execFileSync(execPath, execArgv, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
  const ignoreDefaultArgs = backForwardCache ? ['--disable-back-forward-cache'] : false;
  return chromium.launch({
    executablePath,
    ignoreDefaultArgs,
    args: [...args, '--disable-component-update', '--disable-sync'],
  });
}

/**
 * Pages whose test has ended, by browser. Starting the process of another page takes Chromium longer than most tests take:
 * the next test gets one of these, emptied.
 */
const idlePages = new WeakMap<Browser, Page[]>();

/** A page of its origin without a script, where what is stored can be cleared. */
async function emptyPage(page: Page): Promise<void> {
  const blank = new URL('/blank', page.url()).href;
  page.removeAllListeners();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  // Without an icon Chromium would ask the server for one.
  await page.route(blank, (route) =>
    route.fulfill({ contentType: 'text/html', body: '<link rel="icon" href="data:,">' }),
  );
  await page.goto(blank);
  await page.evaluate('sessionStorage.clear()');
  await page.unrouteAll();
}

async function newPage(browser: Browser, options: BrowserContextOptions): Promise<Page> {
  // Without a GPU, an animation that never ends keeps a processor busy.
  const defaults = { viewport: { width: 1200, height: 800 }, reducedMotion: 'reduce' } as const;
  return (await browser.newContext({ ...defaults, ...options })).newPage();
}

/** The page of the examples, as a person uses it. */
export class ChatPage {
  readonly page: Page;
  readonly #isReusable: boolean;
  /** Errors and warnings of the console, and what was thrown and not caught. */
  readonly problems: string[] = [];
  /** Everything that came over WebSockets, in order. */
  readonly frames: SeenFrame[] = [];

  private constructor(page: Page, isReusable: boolean) {
    this.page = page;
    this.#isReusable = isReusable;
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') this.problems.push(message.text());
    });
    page.on('pageerror', (error) => this.problems.push(String(error)));
    page.on('requestfailed', (request) => this.problems.push(`${request.url()} failed`));
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => this.frames.push(JSON.parse(String(payload)) as SeenFrame));
    });
  }

  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<ChatPage> {
    const isUsual = Object.keys(options).length === 0;
    const idle = isUsual ? idlePages.get(browser)?.pop() : undefined;
    const chat = new ChatPage(idle ?? (await newPage(browser, options)), isUsual);
    await chat.page.goto(url);
    await chat.connected();
    return chat;
  }

  connected(): Promise<void> {
    return this.page.getByRole('status').getByText('Connected', { exact: true }).waitFor();
  }

  tab(agent: string): Locator {
    return this.page.getByRole('navigation', { name: 'Agents' }).getByRole('button', { name: agent });
  }

  log(agent: string): Locator {
    return this.page.getByRole('log', { name: `Conversation with ${agent}` });
  }

  field(agent: string): Locator {
    return this.page.getByRole('textbox', { name: `Message to ${agent}` });
  }

  get chatId(): Locator {
    return this.page.getByRole('definition').nth(0);
  }

  get traceId(): Locator {
    return this.page.getByRole('definition').nth(1);
  }

  get endButton(): Locator {
    return this.page.getByRole('button', { name: 'End chat' });
  }

  async choose(agent: string): Promise<void> {
    await this.tab(agent).click();
    await this.log(agent).waitFor({ state: 'attached' });
  }

  /** Sends a message to the chosen agent and waits until its answer has ended. */
  async say(agent: string, text: string): Promise<void> {
    await this.field(agent).fill(text);
    await this.field(agent).press('Enter');
    await this.settled(agent);
  }

  /** Every answer that an agent owes has come, or has failed. */
  async settled(agent: string): Promise<void> {
    await this.log(agent).and(this.page.locator('[aria-busy=false]')).waitFor();
  }

  /** The frames of one kind that an agent sent. */
  framesOf(agentId: string, type: string): SeenFrame[] {
    return this.frames.filter((frame) => frame.agent_id === agentId && frame.type === type);
  }

  /** How far the page is wider than the window: 0 where nothing can be scrolled sideways. */
  overflow(): Promise<number> {
    return this.page.evaluate('document.documentElement.scrollWidth - window.innerWidth');
  }

  async close(): Promise<void> {
    const { page } = this;
    const context = page.context();
    const browser = context.browser();
    // A page that has opened others, or that shows an error of the browser, is not like a new one.
    const isReusable = this.#isReusable && context.pages().length === 1 && page.url().startsWith('http');
    if (browser === null || !isReusable) return context.close();
    await context.setOffline(false);
    await emptyPage(page);
    const idle = idlePages.get(browser) ?? [];
    idlePages.set(browser, idle);
    idle.push(page);
  }
}
