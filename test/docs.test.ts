import { type ChildProcess, fork } from 'node:child_process';
import { on, once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createRelay } from '@arc/thread-core';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '@arc/thread-core/testing';
import t, { type Test } from 'tap';
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws';
import { hosts } from './shutdown/hosts.js';

/** What the documents name in their examples, and what a test puts in its place. */
const ENDPOINT = 'http://127.0.0.1:8000/arc';
const PORT = '3000';

const DOCUMENTS = [
  'README.md',
  'packages/thread-core/README.md',
  'packages/fastify-arc/README.md',
  'packages/express-arc/README.md',
  'packages/koa-arc/README.md',
] as const;

const root = new URL('../', import.meta.url);
/** Inside the workspace, so that imports resolve as they do for an application. */
const folder = new URL(`.tap/docs-${process.pid}/`, import.meta.url);

const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

interface Block {
  /** File and line. */
  name: string;
  kind: string;
  code: string;
}

/** The code blocks of a document that a comment before them marks: `<!-- run: server -->`. */
function blocksOf(document: string): Block[] {
  const text = read(document);
  return Array.from(
    text.matchAll(/^<!-- ([^\n]+) -->\n```\w+\n(.*?)^```$/gms),
    ({ 1: kind = '', 2: code = '', index }) => ({
      name: `${document}:${text.slice(0, index).split('\n').length}`,
      kind,
      code,
    }),
  );
}

const blocks = DOCUMENTS.flatMap(blocksOf);
const blocksLike = (kind: RegExp): Block[] => blocks.filter((block) => kind.test(block.kind));
const blockLike = (kind: RegExp): Block => blocksLike(kind)[0] as Block;

t.before(() => {
  mkdirSync(folder, { recursive: true });
  // Tells the port that a server listens on, and gives Node 20 what later versions have.
  const preload = `
    import { Server } from 'node:net';
    import { WebSocket } from 'ws';
    globalThis.WebSocket ??= WebSocket;
    const { listen } = Server.prototype;
    Server.prototype.listen = function (...args) {
      this.once('listening', () => process.send(this.address().port));
      return listen.apply(this, args);
    };
  `;
  writeFileSync(new URL('preload.mjs', folder), preload);
});
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Code of a document, run as a program of its own. */
class Program {
  static #count = 0;
  readonly #process: ChildProcess;
  /** The port that it listens on; rejects where it ends without one. */
  readonly port: Promise<number>;
  readonly ended: Promise<{ code: number | null; output: string; errors: string }>;

  constructor(t: Test, code: string) {
    const path = fileURLToPath(new URL(`${++Program.#count}.mjs`, folder));
    writeFileSync(path, code);
    const execArgv = ['--import', new URL('preload.mjs', folder).href];
    this.#process = fork(path, { execArgv, env: { PATH: process.env.PATH ?? '' }, silent: true });
    let output = '';
    let errors = '';
    this.#process.stdout?.on('data', (chunk) => (output += chunk));
    this.#process.stderr?.on('data', (chunk) => (errors += chunk));
    this.ended = once(this.#process, 'close').then(([code]) => ({ code, output, errors }));
    this.port = new Promise((resolve, reject) => {
      this.#process.once('message', resolve);
      void this.ended.then(() => reject(new Error(`It ended before it listened: ${errors}`)));
    });
    this.port.catch(() => {});
    t.teardown(() => this.#process.kill('SIGKILL'));
  }

  stop(): void {
    this.#process.kill('SIGTERM');
  }
}

/** Puts something in the place of what stands in the code once. */
function put(t: Test, code: string, documented: string, actual: string): string {
  const parts = code.split(documented);
  t.equal(parts.length, 2, `${documented} stands there once`);
  return parts.join(actual);
}

async function startAgent(t: Test, options?: TestAgentOptions): Promise<TestAgent> {
  const agent = await startTestAgent(options);
  t.teardown(() => agent.close());
  return agent;
}

/** Runs an example of a server with an agent behind it, on any free port. */
async function serve(t: Test, { code }: Block, agent: TestAgent): Promise<{ program: Program; port: number }> {
  const program = new Program(t, put(t, put(t, code, ENDPOINT, agent.endpoint), PORT, '0'));
  return { program, port: await program.port };
}

async function connect(t: Test, port: number, options: ClientOptions = {}): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, options);
  t.teardown(() => socket.terminate());
  await once(socket, 'open');
  return socket;
}

async function ask(socket: WebSocket, frame: object): Promise<Record<string, unknown>> {
  socket.send(JSON.stringify(frame));
  const [data] = await once(socket, 'message');
  return JSON.parse(String(data));
}

const saying = (content: string) => ({ role: 'user', parts: [{ type: 'text', content }] });
const answering = (content: string) => ({ result: { chat: { message: { parts: [{ content }] } } }, error: null });
const methodsOf = (agent: TestAgent) => agent.requests.map(({ method }) => method);

t.test('every code block is marked, and none has got lost', async (t) => {
  for (const document of DOCUMENTS) {
    const codes = read(document).match(/^```\w/gm)?.length;
    t.equal(blocksOf(document).length, codes, document);
  }
  const kinds: Record<string, number> = {};
  for (const { kind } of blocks) kinds[kind] = (kinds[kind] ?? 0) + 1;
  t.strictSame(kinds, {
    'run: server': 6,
    'run: server, closes': 3,
    'run: client': 1,
    'run: doors': 1,
    'run: page': 5,
    'prints: page': 1,
    'run: loop': 1,
    'run: script': 2,
  });
});

for (const block of blocksLike(/^run: server/)) {
  t.test(`${block.name}: two messages make one chat, which ends with the connection`, async (t) => {
    const agent = await startAgent(t);
    const { program, port } = await serve(t, block, agent);
    const socket = await connect(t, port);

    const first = await ask(socket, { agent_id: 'support', message: saying('Hello'), trace_id: 'trace-1' });
    const expected = { type: 'response', agent_id: 'support', trace_id: 'trace-1' };
    t.match(first, { ...expected, response: answering('support #1: Hello') });
    const second = await ask(socket, { agent_id: 'support', message: saying('Again') });
    t.match(second, { type: 'response', response: answering('support #2: Again') });
    t.match(JSON.parse(agent.requests[0]?.body ?? ''), { requestAgent: 'arc-threads', traceId: 'trace-1' });

    socket.close();
    await agent.waitFor('idle');
    t.strictSame(methodsOf(agent), ['chat.start', 'chat.message', 'chat.end']);

    if (!block.kind.endsWith('closes')) return;
    const other = await connect(t, port);
    await ask(other, { agent_id: 'hr', message: saying('Hello') });
    const refused = await ask(other, { agent_id: 'finance', message: saying('Hello') });
    t.match(refused, { type: 'error', data: { code: -44002 } }, 'an agent that is not in the list');
    const health = await fetch(`http://127.0.0.1:${port}/health`);
    t.match(await health.json(), { sessions: 1, threads: 1, pending: 0 });
    program.stop();
    t.match(await once(other, 'close'), [1001]);
    t.match(await program.ended, { code: 0, errors: '' });
    t.equal(agent.counters.open, 0, 'no chat is left open');
  });
}

t.test('the client of README.md talks to the server of README.md', async (t) => {
  const agent = await startAgent(t);
  const { port } = await serve(t, blockLike(/^run: server$/), agent);
  const client = new Program(t, put(t, blockLike(/^run: client$/).code, PORT, String(port)));
  const { code, output, errors } = await client.ended;
  t.strictSame({ code, errors }, { code: 0, errors: '' });
  t.match(output, "content: 'support #1: Hello'");
  await agent.waitFor('idle');
});

t.test('the doors of README.md let in whom they should, with their own token', async (t) => {
  const agent = await startAgent(t, { token: 'token-for-ada' });
  const { program, port } = await serve(t, blockLike(/^run: doors$/), agent);

  const stranger = new WebSocket(`ws://127.0.0.1:${port}/ws`).on('error', () => {});
  const [, answer] = await once(stranger, 'unexpected-response');
  t.equal(answer.statusCode, 401);
  stranger.terminate();

  const socket = await connect(t, port, { headers: { 'x-api-key': 'key-of-ada' } });
  const allowed = await ask(socket, { agent_id: 'support', message: saying('Hello') });
  t.match(allowed, { type: 'response', response: answering('support #1: Hello') });
  const refused = await ask(socket, { agent_id: 'hr', message: saying('Hello') });
  t.match(refused, { type: 'error', agent_id: 'hr', data: { code: -44002 } });

  program.stop();
  const { output } = await program.ended;
  t.match(output, /"session":"[\w-]{36}","user":"ada","msg":"let in"/);
  t.notMatch(output, 'key-of-ada');
});

t.test('the code beside that of the Python SDK prints what README.md says', async (t) => {
  const agent = await startAgent(t, { token: 'secret' });
  const code = blocksLike(/^run: page$/).map((block) => block.code);
  const {
    code: exitCode,
    output,
    errors,
  } = await new Program(t, put(t, code.join('\n'), ENDPOINT, agent.endpoint)).ended;
  t.strictSame({ exitCode, errors }, { exitCode: 0, errors: '' });
  t.equal(output.replace(/ +$/gm, ''), blockLike(/^prints: page$/).code);
  t.strictSame(methodsOf(agent), ['chat.start', 'chat.message', 'chat.start', 'chat.end', 'chat.end']);
  t.equal(agent.counters.open, 0);
});

t.test('the loop of README.md answers with envelopes, tells of errors, and ends its chats', async (t) => {
  const agent = await startAgent(t, { agents: ['support'] });
  const { port } = await serve(t, blockLike(/^run: loop$/), agent);
  const socket = await connect(t, port);
  t.match(await ask(socket, { agent_id: 'support', message: saying('Hello') }), answering('support #1: Hello'));
  t.match(await ask(socket, { agent_id: 'support', message: saying('Again') }), answering('support #2: Again'));
  t.match(await ask(socket, { agent_id: 'hr', message: saying('Hello') }), { type: 'error' });
  socket.close();
  await agent.waitFor('idle');
  t.equal(agent.counters.ended, 1);
});

for (const block of blocksLike(/^run: script$/)) {
  t.test(`${block.name}: runs to its end`, async (t) => {
    const { code, output, errors } = await new Program(t, block.code).ended;
    t.strictSame({ code, errors }, { code: 0, errors: '' });
    t.match(output, block.code.includes('console.log(error.code') ? /^done .*\n-43001 404 support\n$/ms : /^$/);
  });
}

/** The rows of the table below a heading, cell by cell. */
function tableBelow(document: string, heading: string): string[][] {
  const [, below = ''] = read(document).split(`\n${heading}\n`);
  const [table = ''] = below.match(/(^\|.*\|\n)+/m) ?? [];
  const rows = table.trim().split('\n').slice(2);
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

t.test('the table of options has every option of the relay, with its default', async (t) => {
  const source = read('packages/thread-core/dist/relay/options.js');
  const namesIn = (table: string): string[] => {
    const [, body = ''] = new RegExp(`^const ${table} = \\{\n(.*?)^\\};`, 'ms').exec(source) ?? [];
    return Array.from(body.matchAll(/^ {4}(\w+): \[/gm), ([, name = '']) => name);
  };
  const [numbers, checks] = [namesIn('NUMBERS'), namesIn('CHECKS')];
  t.ok(numbers.length > 10 && checks.length > 10, 'the tables of the code were read');

  const rows = new Map(
    tableBelow('README.md', '## Options').map(([name = '', value]) => [name.replaceAll('`', ''), value]),
  );
  t.strictSame([...rows.keys()].sort(), [...numbers, ...checks].sort());

  const relay = createRelay({ endpoint: ENDPOINT });
  t.teardown(() => relay.close());
  const config = new Map<string, unknown>(Object.entries(relay.config));
  for (const name of numbers) {
    const value = config.get(name);
    t.equal(rows.get(name), value === Number.POSITIVE_INFINITY ? 'no limit' : `\`${value}\``, name);
    t.throws(() => createRelay({ endpoint: ENDPOINT, [name]: -1 }), { message: new RegExp(`^${name}: must be`) });
  }
  t.equal(rows.get('stream'), `\`${config.get('stream')}\``);
  t.equal(rows.get('busy'), `\`'${config.get('busy')}'\``);
  t.equal(rows.get('replies'), config.get('bare') ? "`'bare'`" : "`'frames'`");
  t.throws(() => createRelay({ endpoint: ENDPOINT, ...{ nonsense: 1 } }), { message: /^nonsense: / });
});

for (const [name, load] of Object.entries(hosts)) {
  t.test(`what ${name} cannot do stands in its README, with the reason`, async (t) => {
    const { cannot } = await load();
    const [framework] = name.split(/[ -]/, 1);
    const readme = framework === 'ws' ? 'examples/ws/README.md' : `packages/${framework}-arc/README.md`;
    const text = read(readme).replace(/\s+/g, ' ');
    for (const [what, reason] of Object.entries(cannot)) t.ok(text.includes(reason), `${readme}: ${what}: ${reason}`);
  });
}

t.test('the limits of PROTOCOL.md are the defaults of the code', async (t) => {
  const relay = createRelay({ endpoint: ENDPOINT });
  t.teardown(() => relay.close());
  const config = new Map<string, unknown>(Object.entries(relay.config));
  const rows = tableBelow('PROTOCOL.md', '## 7. Limits');
  t.ok(rows.length > 5);
  for (const [, name = '', value = ''] of rows) {
    const [, number = '', unit] = /^([\d,]+)( s)?$/.exec(value) ?? [];
    const documented = value === 'no limit' ? Number.POSITIVE_INFINITY : Number(number.replaceAll(',', ''));
    t.equal(value === 'off' ? 0 : documented * (unit ? 1000 : 1), config.get(name.replaceAll('`', '')), name);
  }
});

t.test('the relay takes every client frame that PROTOCOL.md shows', async (t) => {
  const agent = await startAgent(t);
  const relay = createRelay({ endpoint: agent.endpoint, cleanupTimeout: 500 });
  const server = new WebSocketServer({ port: 0, path: '/ws', ...relay.wsOptions });
  server.on('connection', (socket, request) => relay.attach(socket, request));
  t.teardown(() => relay.close());
  t.teardown(() => server.close());
  await once(server, 'listening');
  const socket = await connect(t, (server.address() as { port: number }).port);
  const errors: unknown[] = [];
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data));
    if (frame.type === 'error') errors.push(frame);
  });

  const [, section = ''] = /^## 4\.(.*?)^## 5\./ms.exec(read('PROTOCOL.md')) ?? [];
  const frames = Array.from(section.matchAll(/^```json\n(.*?)^```$/gms), ([, frame = '']) => frame);
  t.equal(frames.length, 5);
  for (const frame of frames) socket.send(frame);
  const last = { type: 'ping', id: 'the last' };
  for await (const [data] of on(socket, 'message')) if (JSON.parse(String(data)).type === 'ended') break;
  t.match(await ask(socket, last), { type: 'pong', id: 'the last' });
  t.strictSame(errors, []);
});

t.test('the links of all documents lead somewhere', async (t) => {
  for (const document of [...DOCUMENTS, 'PROTOCOL.md', 'ARCHITECTURE.md', 'CHANGELOG.md']) {
    for (const [, link = ''] of read(document).matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      if (/^https?:/.test(link)) continue;
      t.ok(existsSync(new URL(link, new URL(document, root))), `${document}: ${link}`);
    }
  }
});
