import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { Client, soon, to } from '@arc/test-client';
import { createRelay, type Logger, type RelayOptions } from '@arc/thread-core';
import { faults, startTestAgent } from '@arc/thread-core/testing';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import t, { type Test } from 'tap';
import type { ClientOptions } from 'ws';
import { ArcInstrumentation } from '../src/index.js';
import { meterProvider, readMetrics, takeSpans, tracerProvider } from './world.js';

/** No logger, exporter or person may see what has this in it. */
const CANARY = 'c4n4ry';

const instrumentation = new ArcInstrumentation({ enabled: false });
registerInstrumentations({ tracerProvider, meterProvider, instrumentations: [instrumentation] });

/** All that was logged: of errors also what is not enumerable, and of objects all that can be seen of them. */
class Recorder implements Logger {
  readonly lines: string[] = [];
  readonly levels = new Set<string>();
  readonly debug = this.#writer('debug');
  readonly info = this.#writer('info');
  readonly warn = this.#writer('warn');
  readonly error = this.#writer('error');

  #writer(level: string) {
    return (about: object, message: string): void => {
      this.levels.add(level);
      this.lines.push(inspect({ level, message, about }, { depth: 12, maxStringLength: null, getters: true }));
    };
  }
}

interface Canary {
  url: string;
  agent: Awaited<ReturnType<typeof startTestAgent>>;
  connect(headers?: Record<string, string>, query?: string, protocols?: string[]): Client;
  /** Closes all, and gives everything that anybody could have seen. */
  seen(): Promise<Map<string, string>>;
  log: Recorder;
}

/** A server whose relay authenticates by a cookie, a header, the query or a subprotocol, all of which have a secret. */
async function start(t: Test, options: Partial<RelayOptions> = {}): Promise<Canary> {
  const agent = await startTestAgent();
  const log = new Recorder();
  const relay = createRelay({
    endpoint: `${agent.endpoint}?key=${CANARY}`,
    sessionToken: () => `token-${CANARY}`,
    cookies: true,
    headers: { 'x-api-key': CANARY },
    authenticate: ({ headers, url = '' }) => {
      if (url.includes('throws')) throw new Error('the user database is away');
      return headers.cookie?.includes('user') ? { id: CANARY, email: `${CANARY}@example.com` } : undefined;
    },
    identity: { key: ({ id }: { id: string }) => id } as never,
    resume: { grace: 60_000 },
    cleanupTimeout: 50,
    maxBadFrames: 3,
    logger: log,
    ...options,
  });
  await relay.metrics();
  const server = createServer();
  const { serveRelay } = await import('@arc/thread-core/host');
  serveRelay(server, relay, { path: '/ws' });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const clients: Client[] = [];
  const close = async (): Promise<void> => {
    for (const { socket } of clients) socket.terminate();
    await relay.close({ timeout: 0 });
    server.close();
    await agent.close();
  };
  t.teardown(close);
  const connect = (headers: Record<string, string> = {}, query = '', protocols: string[] = []): Client => {
    const url = `ws://127.0.0.1:${port}/ws?ticket=${CANARY}${query}`;
    const secret = { authorization: `Bearer ${CANARY}`, ...headers };
    const client = new Client(url, { headers: secret, ...({ protocols } as ClientOptions) });
    clients.push(client);
    return client;
  };
  const seen = async (): Promise<Map<string, string>> => {
    const metrics = await relay.metrics();
    const stats = inspect([relay.stats(), relay.health()], { depth: 12 });
    await close();
    const closings = await Promise.all(clients.map(({ closed }) => soon(closed, 'the close frames')));
    const spans = takeSpans().map(({ name, attributes, status, events, links }) => ({
      name,
      attributes,
      status,
      events,
      links,
    }));
    return new Map([
      ['log', log.lines.join('\n')],
      ['spans', inspect(spans, { depth: 12, maxStringLength: null, maxArrayLength: null })],
      ['metrics', metrics],
      ['metrics of OpenTelemetry', inspect([...(await readMetrics()).values()], { depth: 12, maxArrayLength: null })],
      ['stats', stats],
      ['close reasons', inspect(closings)],
    ]);
  };
  return { url: agent.endpoint, agent, connect, seen, log };
}

function check(t: Test, seen: Map<string, string>, secrets: string[] = []): void {
  for (const [where, text] of seen) {
    for (const secret of [CANARY, ...secrets]) {
      const at = text.indexOf(secret);
      t.equal(at, -1, `${where}: ${text.slice(Math.max(at - 200, 0), at + 50)}`);
    }
  }
}

const USER = { cookie: `user=${CANARY}` };

t.test(
  'no token, cookie, query, subprotocol, secret or identity is in a log, span, metric or close reason [S-76]',
  async (t) => {
    const all = await start(t);
    const client = all.connect(USER, '', [CANARY, 'arc-thread.v1']);
    await client.opened;
    client.send({ type: 'resume' });
    const { session } = (await client.next()) as unknown as { session: string };
    const [, secret = ''] = session.split('.');
    let id = 0;
    const ask = (text: string, more: object = {}) => client.ask(to('support', text, { id: id++, ...more }));
    await ask(CANARY);
    await ask(CANARY, { stream: true, metadata: { note: CANARY } });
    await ask(CANARY, { baggage: `note=${CANARY}`, tracestate: `x=${CANARY}` });
    all.agent.script('chat.message', faults.html(502), faults.reset(), { error: { code: -32_603 } }, {
      error: { code: -44_005 },
      times: 9,
    } as never);
    for (let asked = 0; asked < 4; asked += 1) await ask(CANARY);
    await client.ask(`{"${CANARY}`);
    await client.ask({ ...to('support', CANARY), stream: CANARY });
    // Resumed with the secret, with a wrong one, and by another user.
    const second = all.connect(USER);
    await second.opened;
    second.send({ type: 'resume', session, seq: 0, sent: 0 });
    await second.next();
    const third = all.connect(USER);
    await third.opened;
    third.send({ type: 'resume', session: `${session}x`, seq: 0, sent: 0 });
    await third.next();
    for (let bad = 0; bad < 3; bad += 1) third.send({ type: CANARY });
    t.equal((await soon(third.closed, 'too many bad frames')).code, 4429);
    second.socket.terminate();
    all.agent.script('chat.end', { ...faults.html(502), times: 99 });
    check(t, await all.seen(), [secret]);
    t.strictSame([...all.log.levels].sort(), ['debug', 'error', 'info', 'warn'], 'every level was looked at');
  },
);

t.test(
  'no credential of a refused connection is logged, and none that cannot be sent to an agent [S-76]',
  async (t) => {
    for (const refuseWith of ['status', 'close'] as const) {
      const all = await start(t, { refuseWith, allowedOrigins: ['https://app.example'] });
      for (const [headers, query] of [
        [{}, ''],
        [{}, '&throws'],
        [{ ...USER, origin: 'https://evil.example' }, ''],
      ] as const) {
        const client = all.connect(headers, query, [CANARY]);
        await soon(client.closed, 'the refusal');
      }
      check(t, await all.seen());
      t.ok(all.log.levels.has('warn'));
    }
    const unsendable = await start(t, { sessionToken: () => `${CANARY}\r\nx: ${CANARY}` });
    const failing = await start(t, { sessionToken: () => Promise.reject(new Error('no token')) });
    for (const all of [unsendable, failing]) {
      const client = all.connect(USER);
      await client.opened;
      t.match(await client.ask(to('support', CANARY)), { type: 'error' });
      check(t, await all.seen());
      t.ok(all.log.lines.length > 0);
    }
  },
);
