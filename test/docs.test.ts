import { on, once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRelay } from '@arc/thread-core';
import { text } from '@arc/thread-protocol';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import {
  anchorsOf,
  type Block,
  blocksOf,
  DOCUMENTS,
  OTHER_DOCUMENTS,
  read,
  root,
  rowsBelow,
} from './docs/documents.js';
import { createFolder, Program, removeFolder } from './docs/program.js';
import {
  answering,
  ask,
  connect,
  ENDPOINT,
  methodsOf,
  PORT,
  put,
  refusal,
  serve,
  startAgent,
} from './docs/scenarios.js';
import { compile, emitted } from './docs/typescript.js';
import { hosts } from './shutdown/hosts.js';

const blocks = DOCUMENTS.flatMap(blocksOf);

t.before(createFolder);
t.teardown(removeFolder);

/** Whether a block is one of several that make one program. */
const isPart = ({ kind }: Block): boolean => kind === 'run: python';

/** The programs of the documents: each block of its own, and those in parts as a whole. */
const programs = new Map<string, string>();
for (const block of blocks.filter(({ kind }) => kind.startsWith('run: '))) {
  const name = isPart(block) ? `${block.document} (${block.kind})` : block.name;
  programs.set(name, (programs.get(name) ?? '') + block.code);
}
// These wait for types of the packages that fit them.
const typed = new Map(programs);
for (const { name } of blocks.filter(({ isUntyped }) => isUntyped)) typed.delete(name);

/** Compares the names that a document lists with the keys of a type: an error names those that differ. */
function sameKeys(type: string, names: readonly string[]): string {
  const listed = names.map((name) => `'${name}'`).join(' | ');
  return [
    `import type { ${type} as Type } from '@arc/thread-core';`,
    `declare const undocumented: Exclude<keyof Type, ${listed}>;`,
    `declare const nonexistent: Exclude<${listed}, keyof Type>;`,
    'export const differences: never[] = [undocumented, nonexistent];',
  ].join('\n');
}

const unquoted = (cell = ''): string => cell.replaceAll('`', '');
const namesBelow = (document: string, heading: string): string[] =>
  rowsBelow(document, heading).map(([name]) => unquoted(name).replace(/\(.*/, ''));

const OPTIONS = {
  RelayOptions: '## Options of the relay',
  ArcClientOptions: '## Options of ArcClient',
  ThreadManagerOptions: '## Options of ThreadManager',
};
const listed = new Map([
  ...Object.entries(OPTIONS).map(
    ([type, heading]) => [`docs/options.md (${type})`, sameKeys(type, namesBelow('docs/options.md', heading))] as const,
  ),
  ['docs/monitoring.md (RelayStats)', sameKeys('RelayStats', namesBelow('docs/monitoring.md', '## Counters'))] as const,
  ['docs/monitoring.md (RelayHooks)', sameKeys('RelayHooks', namesBelow('docs/monitoring.md', '## Hooks'))] as const,
]);

t.test('every code block compiles as strict TypeScript, and the lists of options are complete', async (t) => {
  t.strictSame(compile(new Map([...typed, ...listed])), []);
});

/** What runs of a program: JavaScript as it is in the document, TypeScript as it was compiled. */
function codeOf({ name, language, code }: Block): string {
  return language === 'js' ? code : emitted([...typed.keys()].indexOf(name));
}

/** Runs the code of a server: two messages make one chat, which ends with the connection. */
async function serves(t: Test, block: Block): Promise<void> {
  const agent = await startAgent(t);
  const { program, port } = await serve(t, codeOf(block), agent);
  const socket = await connect(t, port);

  const first = await ask(socket, { agent_id: 'support', message: text('Hello'), trace_id: 'trace-1' });
  const expected = { type: 'response', agent_id: 'support', trace_id: 'trace-1' };
  t.match(first, { ...expected, response: answering('support #1: Hello') });
  const second = await ask(socket, { agent_id: 'support', message: text('Again') });
  t.match(second, { type: 'response', response: answering('support #2: Again') });
  t.match(JSON.parse(agent.requests[0]?.body ?? ''), { requestAgent: 'arc-threads', traceId: 'trace-1' });

  socket.close();
  await agent.waitFor('idle');
  t.strictSame(methodsOf(agent), ['chat.start', 'chat.message', 'chat.end']);

  if (!block.kind.endsWith('closes')) return;
  const other = await connect(t, port);
  await ask(other, { agent_id: 'hr', message: text('Hello') });
  const refused = await ask(other, { agent_id: 'finance', message: text('Hello') });
  t.match(refused, { type: 'error', data: { code: -44002 } }, 'an agent that is not in the list');
  const health = await fetch(`http://127.0.0.1:${port}/health`);
  t.match(await health.json(), { sessions: 1, threads: 1, pending: 0 });
  program.stop();
  t.match(await once(other, 'close'), [1001]);
  t.match(await program.ended, { code: 0, errors: '' });
  t.equal(agent.counters.open, 0, 'no chat is left open');
}

/** Runs a program that ends by itself, without an error, and says what it should. */
async function runs(t: Test, block: Block): Promise<void> {
  const { code, output, errors } = await new Program(t, codeOf(block)).ended;
  t.strictSame({ code, errors }, { code: 0, errors: '' });
  t.match(output, block.code.includes('console.log(error.code') ? /^done .*\n-43001 404 support\n$/ms : /^$/);
}

/** How each kind of block is tested, by the comment above it. */
const scenarios: Record<string, (t: Test, block: Block) => Promise<void>> = {
  'run: server': serves,
  'run: server, closes': serves,
  'run: script': runs,

  'run: client': async (t, block) => {
    const agent = await startAgent(t);
    const server = blocks.find(({ document, kind }) => document === block.document && kind === 'run: server') as Block;
    const { port } = await serve(t, codeOf(server), agent);
    const client = new Program(t, put(t, codeOf(block), PORT, String(port)));
    t.strictSame(await client.ended, { code: 0, output: 'support #1: Hello\n', errors: '' });
    await agent.waitFor('idle');
  },

  'run: authentication': async (t, block) => {
    const agent = await startAgent(t, { token: 'token-for-ada' });
    const { program, port } = await serve(t, codeOf(block), agent);
    t.equal(await refusal(port), 401);

    const socket = await connect(t, port, { headers: { 'x-api-key': 'key-of-ada' } });
    const allowed = await ask(socket, { agent_id: 'support', message: text('Hello') });
    t.match(allowed, { type: 'response', response: answering('support #1: Hello') });
    const refused = await ask(socket, { agent_id: 'hr', message: text('Hello') });
    t.match(refused, { type: 'error', agent_id: 'hr', data: { code: -44002 } });

    program.stop();
    const { output } = await program.ended;
    t.match(output, /"session":"[\w-]{36}","user":"ada","msg":"connected"/);
    t.notMatch(output, 'key-of-ada');
  },

  'run: monitoring': async (t, block) => {
    const agent = await startAgent(t);
    const { program, port } = await serve(t, codeOf(block), agent);
    const socket = await connect(t, port);
    await ask(socket, { agent_id: 'support', message: text('Hello') });
    const health = await fetch(`http://127.0.0.1:${port}/health`);
    t.match(await health.json(), { sessions: 1, sends: { response: 1 } });
    program.stop();
    const { output } = await program.ended;
    t.match(output, /"session":"[\w-]{36}","state":"response".*"msg":"answered"/);
  },

  'run: loop': async (t, block) => {
    const agent = await startAgent(t, { agents: ['support'] });
    const { port } = await serve(t, codeOf(block), agent);
    const socket = await connect(t, port);
    t.match(await ask(socket, { agent_id: 'support', message: text('Hello') }), answering('support #1: Hello'));
    t.match(await ask(socket, { agent_id: 'support', message: text('Again') }), answering('support #2: Again'));
    t.match(await ask(socket, { agent_id: 'hr', message: text('Hello') }), { type: 'error' });
    socket.close();
    await agent.waitFor('idle');
    t.equal(agent.counters.ended, 1);
  },
};

/** Blocks that no scenario runs: parts of a program, and what it prints. */
const WITHOUT_SCENARIO = ['run: python', 'prints: python'];

t.test('every code block is marked, and every scenario has a block', async (t) => {
  for (const document of DOCUMENTS) {
    t.equal(blocksOf(document).length, read(document).match(/^```\w/gm)?.length ?? 0, document);
  }
  const kinds = [...new Set(blocks.map(({ kind }) => kind))];
  t.strictSame(kinds.sort(), [...Object.keys(scenarios), ...WITHOUT_SCENARIO].sort());
});

for (const block of blocks) {
  const scenario = scenarios[block.kind];
  if (scenario !== undefined)
    t.test(`${block.name} (${block.kind}) does what the document says`, (t) => scenario(t, block));
}

t.test('the code beside that of the Python SDK prints what the document says', async (t) => {
  const agent = await startAgent(t, { token: 'secret' });
  const code = put(t, programs.get('docs/python.md (run: python)') ?? '', ENDPOINT, agent.endpoint);
  const { code: exitCode, output, errors } = await new Program(t, code).ended;
  t.strictSame({ exitCode, errors }, { exitCode: 0, errors: '' });
  t.equal(output.replace(/ +$/gm, ''), blocks.find(({ kind }) => kind === 'prints: python')?.code);
  t.strictSame(methodsOf(agent), ['chat.start', 'chat.message', 'chat.start', 'chat.end', 'chat.end']);
  t.equal(agent.counters.open, 0);
});

t.test('the documented defaults of the relay are those of the code', async (t) => {
  const relay = createRelay({ endpoint: ENDPOINT });
  t.teardown(() => relay.close());
  const config = new Map<string, unknown>(Object.entries(relay.config));
  const rows = rowsBelow('docs/options.md', OPTIONS.RelayOptions).map(
    ([name, value]) => [unquoted(name), value] as const,
  );
  const numbers = rows.filter(([, value = '']) => /^(`\d+`|no limit)$/.test(value));
  t.ok(numbers.length > 10);
  for (const [name, value] of numbers) {
    const actual = config.get(name);
    t.equal(value, actual === Number.POSITIVE_INFINITY ? 'no limit' : `\`${actual}\``, name);
    t.throws(() => createRelay({ endpoint: ENDPOINT, [name]: -1 }), { message: new RegExp(`^${name}: must be`) });
  }
  const documented = new Map(rows);
  t.equal(documented.get('stream'), `\`${config.get('stream')}\``);
  t.equal(documented.get('busy'), `\`'${config.get('busy')}'\``);
  t.equal(documented.get('onDisconnect'), `\`'${config.get('onDisconnect')}'\``);
  t.equal(documented.get('replies'), config.get('bare') ? "`'bare'`" : "`'frames'`");
  t.throws(() => createRelay({ endpoint: ENDPOINT, ...{ nonsense: 1 } }), { message: /^nonsense: / });
});

for (const [name, load] of Object.entries(hosts)) {
  t.test(`the README of ${name} lists what it cannot do, with the reason`, async (t) => {
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
  const rows = rowsBelow('PROTOCOL.md', '## 7. Limits');
  t.ok(rows.length > 5);
  for (const [, name = '', value = ''] of rows) {
    const [, number = '', unit] = /^([\d,]+)( s)?$/.exec(value) ?? [];
    const documented = value === 'no limit' ? Number.POSITIVE_INFINITY : Number(number.replaceAll(',', ''));
    t.equal(value === 'off' ? 0 : documented * (unit ? 1000 : 1), config.get(unquoted(name)), name);
  }
});

t.test('the relay accepts every client frame that PROTOCOL.md shows', async (t) => {
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
  for (const document of [...DOCUMENTS, ...OTHER_DOCUMENTS]) {
    for (const [, link = '', anchor] of read(document).matchAll(/\]\(([^)#\s]*)(?:#([^)]*))?\)/g)) {
      if (/^https?:/.test(link)) continue;
      const target = link === '' ? document : new URL(link, new URL(document, root)).href.slice(root.href.length);
      t.ok(existsSync(new URL(target, root)), `${document}: ${link}`);
      if (anchor !== undefined) t.ok(anchorsOf(target).includes(anchor), `${document}: ${link}#${anchor}`);
    }
  }
});

t.test('README.md has at most 150 lines', async (t) => {
  t.ok(read('README.md').trimEnd().split('\n').length <= 150);
});
