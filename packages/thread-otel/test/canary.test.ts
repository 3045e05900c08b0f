import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { Client, to, withDeadline } from '@arc/test-client';
import { createRelay, type Logger, type RelayOptions } from '@arc/thread-core';
import { faults, startTestAgent } from '@arc/thread-core/testing';
import { registerInstrumentations } from '@opentelemetry/instrumentation';
import t, { type Test } from 'tap';
import type { ClientOptions } from 'ws';
import { ArcInstrumentation } from '../src/index.js';
import { meterProvider, readMetrics, takeSpans, tracerProvider } from './world.js';

/** What no logger, exporter or person may see: each kind of secret has a text of its own. */
const CANARY = {
  token: 'c4n4ry-token',
  cookie: 'c4n4ry-cookie',
  query: 'c4n4ry-query',
  subprotocol: 'c4n4ry-subprotocol',
  identity: 'c4n4ry-identity',
  text: 'c4n4ry-text',
  /** A header of the client, the application's key for the agent, and what else is neither of these. */
  other: 'c4n4ry-other',
} as const;
type Kind = keyof typeof CANARY;

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
  /** Which of the secrets the relay had in its hands. */
  used: Set<Kind>;
}

/** A server whose relay authenticates by a cookie, a header, the query or a subprotocol, all of which have a secret. */
async function start(t: Test, options: Partial<RelayOptions> = {}): Promise<Canary> {
  const agent = await startTestAgent();
  const log = new Recorder();
  const used = new Set<Kind>();
  const use = (kind: Kind, text: unknown): void => {
    if (String(text).includes(CANARY[kind])) used.add(kind);
  };
  const relay = createRelay({
    endpoint: `${agent.endpoint}?key=${CANARY.other}`,
    sessionToken: () => CANARY.token,
    cookies: true,
    headers: { 'x-api-key': CANARY.other },
    authenticate: ({ headers, url = '' }) => {
      use('cookie', headers.cookie);
      use('query', url);
      use('subprotocol', headers['sec-websocket-protocol']);
      if (url.includes('throws')) throw new Error('the user database is away');
      return headers.cookie?.includes('user')
        ? { id: CANARY.identity, email: `${CANARY.identity}@example.com` }
        : undefined;
    },
    identity: {
      key: ({ id }: { id: string }) => {
        use('identity', id);
        return id;
      },
    } as never,
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
    const url = `ws://127.0.0.1:${port}/ws?ticket=${CANARY.query}${query}`;
    const secret = { authorization: `Bearer ${CANARY.other}`, ...headers };
    const client = new Client(url, { headers: secret, ...({ protocols } as ClientOptions) });
    clients.push(client);
    return client;
  };
  const seen = async (): Promise<Map<string, string>> => {
    const metrics = await relay.metrics();
    for (const { headers, body } of agent.requests) {
      use('token', headers.authorization);
      use('text', inspect(body, { depth: 12 }));
    }
    const stats = inspect([relay.stats(), relay.health()], { depth: 12 });
    await close();
    const closings = await Promise.all(clients.map(({ closed }) => withDeadline(closed, 'the close frames')));
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
  return { url: agent.endpoint, agent, connect, seen, log, used };
}

function check(t: Test, seen: Map<string, string>, more: Record<string, string> = {}): void {
  for (const [where, text] of seen) {
    for (const [kind, secret] of Object.entries({ ...CANARY, ...more })) {
      const at = text.indexOf(secret);
      t.equal(at, -1, `${kind} in ${where}: ${at < 0 ? 'none' : text.slice(Math.max(at - 200, 0), at + 50)}`);
    }
  }
}

const USER = { cookie: `user=${CANARY.cookie}` };

t.test(
  'no token, cookie, query, subprotocol, secret or identity is in a log, span, metric or close reason [S-76]',
  async (t) => {
    const all = await start(t);
    const resume = async (more: object): Promise<[Client, Record<string, unknown>]> => {
      const client = all.connect(USER, '', [CANARY.subprotocol, 'arc-thread.v1']);
      await client.opened;
      client.send({ type: 'resume', ...more });
      return [client, await client.next()];
    };
    const [, { session }] = await resume({});
    const [, secret = ''] = String(session).split('.');
    const [client, resumed] = await resume({ session, seq: 0, sent: 0 });
    t.match(resumed, { resumed: true }, 'the session secret was good');
    let id = 0;
    const ask = (text: string, more: object = {}) => client.ask(to('support', text, { id: id++, ...more }));
    await ask(CANARY.text);
    await ask(CANARY.text, { stream: true, metadata: { note: CANARY.other } });
    await ask(CANARY.text, { baggage: `note=${CANARY.other}`, tracestate: `x=${CANARY.other}` });
    all.agent.script('chat.message', { raw: [`no HTTP, ${CANARY.text}`] });
    t.match(await ask(CANARY.text), { type: 'error', data: { message: /not HTTP/ } });
    all.agent.script('chat.message', faults.html(502), faults.reset(), { error: { code: -32_603 } }, {
      error: { code: -44_005 },
      times: 9,
    } as never);
    for (let asked = 0; asked < 4; asked += 1) await ask(CANARY.text);
    await client.ask(`{"${CANARY.other}`);
    await client.ask({ ...to('support', CANARY.text), stream: CANARY.other });
    const [third, refused] = await resume({ session: `${session}x`, seq: 0, sent: 0 });
    t.match(refused, { resumed: false }, 'a wrong one was not');
    for (let bad = 0; bad < 3; bad += 1) third.send({ type: CANARY.other });
    t.equal((await withDeadline(third.closed, 'too many bad frames')).code, 4429);
    client.socket.terminate();
    all.agent.script('chat.end', { ...faults.html(502), times: 99 });
    check(t, await all.seen(), { 'session secret': secret });
    t.ok(secret.length > 10);
    const kinds: Kind[] = ['token', 'cookie', 'query', 'subprotocol', 'identity', 'text'];
    for (const kind of kinds) t.ok(all.used.has(kind), `${kind} was in the hands of the relay`);
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
        const client = all.connect(headers, query, [CANARY.subprotocol]);
        await withDeadline(client.closed, 'the refusal');
      }
      check(t, await all.seen());
      t.ok(all.log.levels.has('warn'));
    }
    const unsendable = await start(t, { sessionToken: () => `${CANARY.token}\r\nx: ${CANARY.token}` });
    const failing = await start(t, { sessionToken: () => Promise.reject(new Error('no token')) });
    for (const all of [unsendable, failing]) {
      const client = all.connect(USER);
      await client.opened;
      t.match(await client.ask(to('support', CANARY.text)), { type: 'error' });
      check(t, await all.seen());
      t.ok(all.log.lines.length > 0);
    }
  },
);
