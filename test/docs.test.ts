import { on, once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRelay } from '@arc/thread-core';
import t from 'tap';
import { WebSocketServer } from 'ws';
import {
  anchorsOf,
  type Block,
  blocks,
  blocksOf,
  DOCUMENTS,
  OTHER_DOCUMENTS,
  read,
  root,
  rowsBelow,
} from './docs/documents.js';
import { createFolder, Program, removeFolder } from './docs/program.js';
import { scenarios } from './docs/scenarios.js';
import { ask, connect, ENDPOINT, methodsOf, put, startAgent } from './docs/support.js';
import { compile, emitted } from './docs/typescript.js';
import { hosts } from './shutdown/hosts.js';

t.before(createFolder);
t.teardown(removeFolder);

/** Whether a block is one of several that make one program. */
const isPart = ({ kind }: Block): boolean => kind === 'run: python';

/** The programs of the documents: each block of its own, and those in parts as a whole. */
const programs = new Map<string, string>();
for (const block of blocks.filter(({ kind }) => /^(run: |compiles$)/.test(kind))) {
  const name = isPart(block) ? `${block.document} (${block.kind})` : block.name;
  programs.set(name, (programs.get(name) ?? '') + block.code);
}
// These wait for types of the packages that fit them.
const typed = new Map(programs);
for (const { name } of blocks.filter(({ isUntyped }) => isUntyped)) typed.delete(name);

/** Compares the names that a document lists with the keys of a type: an error names those that differ. */
function sameKeys(type: string, names: readonly string[]): string {
  const listed = names.map((name) => `'${name}'`).join(' | ');
  const internal = INTERNAL.map((name) => `'${name}'`).join(' | ');
  return [
    `import type { ${type} as Type } from '@arc/thread-core';`,
    `declare const undocumented: Exclude<keyof Type, ${listed} | ${internal}>;`,
    `declare const nonexistent: Exclude<${listed}, keyof Type>;`,
    'export const differences: never[] = [undocumented, nonexistent];',
  ].join('\n');
}

const unquoted = (cell = ''): string => cell.replaceAll('`', '');
const namesBelow = (document: string, heading: string): string[] =>
  rowsBelow(document, heading).flatMap(([name = '']) =>
    Array.from(name.matchAll(/`(\w+)/g), ([, identifier = '']) => identifier),
  );

/** Options that are not public. */
const INTERNAL = ['observer'];

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

/** Code as it is whatever its layout. */
const layoutless = (code: string): string => code.replace(/\s+/g, '').replace(/,(?=[)}\]])/g, '');

t.test('what the README of an example shows is in its program', async (t) => {
  const readmes = OTHER_DOCUMENTS.filter((document) => /^examples\/.*README\.md$/.test(document));
  const shown = readmes.flatMap((readme) =>
    Array.from(read(readme).matchAll(/^```\w+\n(.*?)^```$/gms), ([, code = '']) => ({ readme, code })),
  );
  t.ok(shown.length >= 8);
  for (const { readme, code } of shown) {
    const [server = ''] = ['src/server.ts', 'server.mjs']
      .map((path) => readme.replace('README.md', path))
      .filter((path) => existsSync(new URL(path, root)));
    t.ok(layoutless(read(server)).includes(layoutless(code)), readme);
  }
});

/** Blocks without a scenario: parts of a program, what it prints, and code that needs a page. */
const WITHOUT_SCENARIO = ['run: python', 'prints: python', 'compiles'];

t.test('every code block is marked, and every scenario has a block', async (t) => {
  for (const document of DOCUMENTS) {
    t.equal(blocksOf(document).length, read(document).match(/^```\w/gm)?.length ?? 0, document);
  }
  const kinds = [...new Set(blocks.map(({ kind }) => kind))];
  t.strictSame(kinds.sort(), [...Object.keys(scenarios), ...WITHOUT_SCENARIO].sort());
});

for (const block of blocks) {
  const scenario = scenarios[block.kind];
  if (scenario === undefined) continue;
  t.test(`${block.name} (${block.kind}) does what the document says`, (t) => scenario(t, block, codeOf(block)));
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
  const numbers = rows
    .map(([name, value = '']) => [name, value.replace(/, or .*/, '')] as const)
    .filter(([, value]) => /^(`\d+`|no limit)$/.test(value));
  t.ok(numbers.length > 10);
  for (const [name, value] of numbers) {
    const actual = config.get(name);
    t.equal(value, actual === Number.POSITIVE_INFINITY ? 'no limit' : `\`${actual}\``, name);
    t.throws(() => createRelay({ endpoint: ENDPOINT, [name]: -1 }), { message: new RegExp(`^${name}: must be`) });
  }
  const documented = new Map(rows);
  for (const name of ['stream', 'busy', 'onDisconnect', 'trustProxy', 'refuseWith', 'protocols']) {
    t.equal(documented.get(name), `\`${JSON.stringify(config.get(name)).replaceAll('"', "'")}\``, name);
  }
  t.equal(documented.get('replies'), config.get('bare') ? "`'bare'`" : "`'frames'`");
  t.throws(() => createRelay({ endpoint: ENDPOINT, ...{ nonsense: 1 } }), { message: /^nonsense: / });
});

for (const [name, load] of Object.entries(hosts)) {
  t.test(`the README of ${name} lists what it cannot do, with the reason`, async (t) => {
    const { unsupported } = await load();
    const [framework = ''] = name.split(/[ -]/, 1);
    const others: Record<string, string> = {
      ws: 'examples/ws/README.md',
      'node:http': 'packages/thread-core/README.md',
    };
    const readme = others[framework] ?? `packages/${framework}-arc/README.md`;
    const text = read(readme).replace(/\s+/g, ' ');
    for (const [what, reason] of Object.entries(unsupported))
      t.ok(text.includes(reason), `${readme}: ${what}: ${reason}`);
  });
}

/** Limits that the relay hands on to its client. That they are these is tested there. */
const CLIENT_OPTIONS: Readonly<Record<string, number>> = { maxResponseBytes: 16_777_216, maxEventBytes: 16_777_216 };
const FACTORS: Readonly<Record<string, number>> = { s: 1000, MiB: 1024 ** 2 };

t.test('the limits of PROTOCOL.md are the defaults of the code', async (t) => {
  const relay = createRelay({ endpoint: ENDPOINT });
  t.teardown(() => relay.close());
  const config = new Map<string, unknown>(Object.entries(relay.config));
  const rows = rowsBelow('PROTOCOL.md', '## 7. Limits');
  t.ok(rows.length > 5);
  for (const [, name = '', value = ''] of rows) {
    const [, number = '', unit] = /^([\d,]+)( s| MiB)?(?:, or .*)?$/.exec(value) ?? [];
    const documented = value === 'no limit' ? Number.POSITIVE_INFINITY : Number(number.replaceAll(',', ''));
    const factor = unit === undefined ? 1 : (FACTORS[unit.trim()] ?? Number.NaN);
    for (const option of unquoted(name).split(', ')) {
      const actual = option in CLIENT_OPTIONS ? CLIENT_OPTIONS[option] : config.get(option);
      t.equal(value === 'off' ? 0 : documented * factor, actual, option);
    }
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
