import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, until } from '@arc/test-client';
import { WebSocket } from 'ws';

/** What the tests do with a browser. */
export interface Driver {
  readonly version: string;
  /** Errors of the page's console, where the browser tells them. */
  readonly problems: string[];
  goto(url: string): Promise<void>;
  evaluate(expression: string): Promise<unknown>;
  /** Presses keys. A line break is Enter. */
  type(text: string): Promise<void>;
  reload(): Promise<void>;
  back(): Promise<void>;
  close(): Promise<void>;
}

interface KeyActions {
  type: 'key';
  id: string;
  actions: { type: 'keyDown' | 'keyUp'; value: string }[];
}

const ENTER = '\uE007';

function keys(text: string): KeyActions[] {
  const actions = [...text.replaceAll('\n', ENTER)].flatMap((value) => [
    { type: 'keyDown' as const, value },
    { type: 'keyUp' as const, value },
  ]);
  return [{ type: 'key', id: 'keyboard', actions }];
}

async function stop(browser: ChildProcess): Promise<void> {
  const exited = once(browser, 'exit');
  if (browser.exitCode === null && browser.kill()) await exited;
}

/** Firefox over WebDriver BiDi, which it speaks by itself. */
export async function startFirefox(program: string): Promise<Driver> {
  const port = await freePort();
  const profile = await mkdtemp(join(tmpdir(), 'firefox-'));
  const args = ['--headless', '--no-remote', '--profile', profile, `--remote-debugging-port=${port}`, 'about:blank'];
  const browser = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let output = '';
  browser.stderr.on('data', (chunk) => {
    output += chunk;
  });
  await until(() => output.includes('WebDriver BiDi listening'), 'Firefox');
  const socket = new WebSocket(`ws://127.0.0.1:${port}/session`);
  await once(socket, 'open');
  const waiting = new Map<number, (answer: { result?: unknown; error?: string; message?: string }) => void>();
  const problems: string[] = [];
  let ids = 0;
  socket.on('message', (data) => {
    const answer = JSON.parse(String(data));
    waiting.get(answer.id)?.(answer);
    const { level, text } = answer.params ?? {};
    if (answer.method === 'log.entryAdded' && (level === 'error' || level === 'warn')) problems.push(text);
  });
  const ask = async (method: string, params: object): Promise<Record<string, unknown>> => {
    const id = ++ids;
    const answered = new Promise<{ result?: unknown; error?: string; message?: string }>((resolve) => {
      waiting.set(id, resolve);
    });
    socket.send(JSON.stringify({ id, method, params }));
    const { result, error, message } = await answered;
    if (error !== undefined) throw new Error(`${method}: ${error}: ${message}`);
    return result as Record<string, unknown>;
  };
  const { capabilities } = await ask('session.new', { capabilities: {} });
  await ask('session.subscribe', { events: ['log.entryAdded'] });
  const { contexts } = await ask('browsingContext.getTree', {});
  const context = (contexts as { context: string }[])[0]?.context;
  const { browserName, browserVersion } = capabilities as Record<string, string>;
  return {
    version: `${browserName} ${browserVersion}`,
    problems,
    goto: async (url) => void (await ask('browsingContext.navigate', { context, url, wait: 'complete' })),
    evaluate: async (expression) => {
      const params = { expression: `JSON.stringify(${expression})`, target: { context }, awaitPromise: true };
      const { result } = await ask('script.evaluate', params);
      const { value } = result as { value?: string };
      return value === undefined ? undefined : JSON.parse(value);
    },
    type: async (text) => void (await ask('input.performActions', { context, actions: keys(text) })),
    reload: async () => void (await ask('browsingContext.reload', { context, wait: 'complete' })),
    back: async () => void (await ask('browsingContext.traverseHistory', { context, delta: -1 })),
    close: async () => {
      socket.close();
      await stop(browser);
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** WebKit over WebDriver, as WebKitGTK's driver speaks it. It needs a display. */
export async function startWebKit(program: string): Promise<Driver> {
  const port = await freePort();
  const driver = spawn(program, [`--port=${port}`], { stdio: 'ignore' });
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const { value } = (await response.json()) as { value: { error?: string; message?: string } | null };
    if (!response.ok) throw new Error(`${path}: ${value?.error}: ${value?.message}`);
    return value;
  };
  const isUp = async (): Promise<boolean> => {
    const answer = await ask('GET', '/status').catch(() => undefined);
    return answer !== undefined;
  };
  await until(isUp, 'the driver of WebKit');
  const { sessionId, capabilities } = (await ask('POST', '/session', { capabilities: {} })) as {
    sessionId: string;
    capabilities: Record<string, string>;
  };
  const path = `/session/${sessionId}`;
  return {
    version: `${capabilities.browserName} ${capabilities.browserVersion}`,
    problems: [],
    goto: async (url) => void (await ask('POST', `${path}/url`, { url })),
    evaluate: (expression) => ask('POST', `${path}/execute/sync`, { script: `return ${expression}`, args: [] }),
    type: async (text) => void (await ask('POST', `${path}/actions`, { actions: keys(text) })),
    reload: async () => void (await ask('POST', `${path}/refresh`, {})),
    back: async () => void (await ask('POST', `${path}/back`, {})),
    close: async () => {
      await ask('DELETE', path);
      await stop(driver);
    },
  };
}
