// npm run test:packages [-- --node 20,22]     installs what would be published into empty projects and runs it there.
//
// Packs every public package. For each one, makes a project of its own, installs the tarballs and the package's peers from
// the registry, and builds one small program (smoke/<package>.ts) four ways: as an ES module, as CommonJS with require(), as
// TypeScript with the resolver `nodenext`, and as TypeScript with the resolver `bundler` plus esbuild. Then runs each of them,
// and every program of the package's README, on each version of Node. Tests an app with each adapter by Jest and by Vitest
// (runners/), as docs/testing.md says. Prints a table; exits with 1 if any cell fails.
//
// The binaries of Node come from npm's own `node` package.
import { execFile, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const exec = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const smoke = fileURLToPath(new URL('smoke/', import.meta.url));
const runners = fileURLToPath(new URL('runners/', import.meta.url));
const { values: options } = parseArgs({ options: { node: { type: 'string', default: '20,22,24,26' } } });
const versions = options.node.split(',');
const folder = mkdtempSync(join(tmpdir(), 'arc-packages-'));

/** What each program needs beside the packages themselves. */
const COMMON = ['typescript@6', 'esbuild', '@types/node@20', 'ws', '@types/ws'];
const PEERS = {
  'express-arc': ['express', '@types/express'],
  'fastify-arc': ['fastify', '@fastify/websocket'],
  'koa-arc': ['koa', '@types/koa'],
  'thread-client': ['react@19', '@types/react@19', 'react-dom@19', '@types/react-dom@19', 'ai@7'],
  'thread-otel': ['@opentelemetry/api@~1.9.0', '@opentelemetry/sdk-trace-node@2'],
  'thread-redis': ['@redis/client', 'redis'],
};

/** The test runners, and how each is started. Vitest 5 needs Node 22; Vitest 4 runs on Node 20 as well. */
const RUNNERS = {
  Jest: { version: 'jest@30', args: ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js'] },
  Vitest: { version: 'vitest@4', args: ['node_modules/vitest/vitest.mjs', 'run', '--globals'] },
};

/** Longest time for one program, in milliseconds: one that hangs is a failure. */
const PROGRAM_TIMEOUT = 60_000;

const STRICT = {
  target: 'es2022',
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  types: ['node'],
};

const tell = (text) => process.stderr.write(`${text}\n`);

function writeJson(path, value) {
  writeFileSync(path, JSON.stringify(value, null, 2));
}

/** Runs a command, and gives what went wrong; undefined if nothing did. */
async function failureOf(command, args, cwd) {
  try {
    await exec(command, args, { cwd, timeout: PROGRAM_TIMEOUT, maxBuffer: 64 * 1024 * 1024 });
    return undefined;
  } catch (error) {
    return `${command} ${args.join(' ')}\n${error.stdout}${error.stderr}${error.killed ? 'timed out\n' : ''}`;
  }
}

async function pack() {
  const names = readdirSync(join(root, 'packages')).filter((name) => {
    const { private: isPrivate } = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
    return isPrivate !== true;
  });
  const paths = names.map((name) => `./packages/${name}`);
  const { stdout } = await exec('npm', ['pack', '--json', '--pack-destination', folder, ...paths], { cwd: root });
  const packed = Object.values(JSON.parse(stdout));
  return names.map((name, index) => {
    const { filename, files } = packed[index];
    const missing = ['LICENSE', 'README.md', 'package.json'].filter((file) => !files.some(({ path }) => path === file));
    return { name, tarball: join(folder, filename), missing };
  });
}

/** The path of each Node binary. */
async function findNodes() {
  const nodes = new Map();
  for (const version of versions) {
    const args = ['--yes', '--package', `node@${version}`, '--', 'node', '--print', 'process.execPath'];
    const { stdout } = await exec('npx', args, { cwd: folder });
    nodes.set(version, stdout.trim());
  }
  return nodes;
}

/** The packages of this repository that a package needs, with those of the test agent. */
function neededBy(name, found = new Set()) {
  for (const one of [name, 'thread-core']) {
    if (found.has(one)) continue;
    found.add(one);
    const { dependencies = {} } = JSON.parse(readFileSync(join(root, 'packages', one, 'package.json'), 'utf8'));
    for (const dependency of Object.keys(dependencies)) {
      if (dependency.startsWith('@arc/')) neededBy(dependency.slice('@arc/'.length), found);
    }
  }
  return found;
}

/** Makes a project, and gives what it can run: the name of a column, and either a file to run or why there is none. */
async function build(name, tarballs) {
  const project = join(folder, name);
  mkdirSync(join(project, 'esm'), { recursive: true });
  mkdirSync(join(project, 'cjs'));
  writeJson(join(project, 'package.json'), { name: `try-${name}`, private: true, type: 'module' });
  const isTested = existsSync(join(runners, `${name}.js`));
  const testers = isTested ? Object.values(RUNNERS).map(({ version }) => version) : [];
  const wanted = [...tarballs, ...COMMON, ...(PEERS[name] ?? []), ...testers];
  await exec('npm', ['install', '--no-audit', '--no-fund', '--silent', ...wanted], { cwd: project });

  for (const file of [`${name}.ts`, 'converse.ts']) {
    copyFileSync(join(smoke, file), join(project, 'esm', file));
    copyFileSync(join(smoke, file), join(project, 'cjs', file));
  }
  // TypeScript makes require() of imports in a folder that is CommonJS, and resolves as require() does.
  writeJson(join(project, 'cjs/package.json'), { type: 'commonjs' });
  // The types of `ai` 7 do not fit `exactOptionalPropertyTypes` themselves.
  const strict = { ...STRICT, skipLibCheck: name === 'thread-client' };
  const nodenext = { ...strict, module: 'nodenext', rootDir: '.', outDir: 'out' };
  const bundler = { ...strict, module: 'esnext', moduleResolution: 'bundler', noEmit: true };
  writeJson(join(project, 'tsconfig.nodenext.json'), { compilerOptions: nodenext, files: [`esm/${name}.ts`] });
  writeJson(join(project, 'tsconfig.cjs.json'), { compilerOptions: nodenext, files: [`cjs/${name}.ts`] });
  writeJson(join(project, 'tsconfig.bundler.json'), { compilerOptions: bundler, files: [`esm/${name}.ts`] });
  const compile = (kind) => failureOf('npx', ['tsc', '-p', `tsconfig.${kind}.json`], project);
  const bundle = (file, format, external, out) =>
    failureOf(
      'npx',
      ['esbuild', file, '--bundle', '--platform=node', `--format=${format}`, ...external, `--outfile=${out}`],
      project,
    );

  const external = ['--packages=external'];
  const columns = [
    // Types are stripped, nothing else: what an author of plain JavaScript writes.
    { column: 'import', file: 'plain.mjs', failure: await bundle(`esm/${name}.ts`, 'esm', external, 'plain.mjs') },
    { column: 'require', file: 'out/cjs/package.cjs', failure: await compile('cjs') },
    { column: 'nodenext', file: `out/esm/${name}.js`, failure: await compile('nodenext') },
    {
      column: 'bundler',
      file: 'bundled.mjs',
      failure:
        (await compile('bundler')) ??
        (await bundle(
          `esm/${name}.ts`,
          'esm',
          name === 'thread-protocol' || name === 'thread-client'
            ? ['ws', '@arc/thread-core', 'react', 'react-dom'].map((each) => `--external:${each}`)
            : external,
          'bundled.mjs',
        )),
    },
  ];
  if (isTested) {
    copyFileSync(join(runners, `${name}.js`), join(project, 'app.js'));
    copyFileSync(join(runners, 'app.test.js'), join(project, 'app.test.js'));
    // Jest's own transformation is for CommonJS: the packages and this test are ES modules.
    writeJson(join(project, 'jest.config.json'), {
      testEnvironment: 'node',
      transform: {},
      roots: ['<rootDir>'],
      testMatch: ['<rootDir>/app.test.js'],
    });
  }
  // The folder `out` has the project's type, which is `module`.
  if (columns[1].failure === undefined) {
    writeJson(join(project, 'out/cjs/package.json'), { type: 'commonjs' });
    columns[1].file = `out/cjs/${name}.js`;
  }
  return { project, columns, isTested };
}

/** The programs of a README: those that say so in a comment above their block. */
function programsOf(name) {
  const path = join(root, 'packages', name, 'README.md');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return Array.from(
    text.matchAll(/^<!-- run: (server|script|page|redis)\b[^\n]* -->\n```\w+\n(.*?)^```$/gms),
    ([, kind, code]) => ({
      kind,
      code,
    }),
  );
}

/**
 * Runs a README's program: a script to its end, a server until it listens and has answered one message, what is for a page in the
 * parts of a page that it uses, what is for Redis beside a server.
 */
async function runProgram(node, project, { kind, code }, index) {
  const file = `readme-${index}.mjs`;
  const around = AROUND[kind] ?? { before: '', after: '' };
  // Not the port of a server that may run here already.
  writeFileSync(join(project, file), `${around.before}${code}${around.after}`.replaceAll('6379', '16379'));
  if (kind !== 'server') return failureOf(node, [file], project);
  const isFree = `import { Server } from 'node:net';
    const { listen } = Server.prototype;
    Server.prototype.listen = function (...args) {
      this.once('listening', () => console.log('listening'));
      return listen.apply(this, args);
    };`;
  writeFileSync(join(project, 'preload.mjs'), isFree);
  const server = spawn(node, ['--import', './preload.mjs', file], { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  server.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const timer = setTimeout(() => server.kill('SIGKILL'), PROGRAM_TIMEOUT);
  try {
    for await (const line of createInterface(server.stdout)) if (line === 'listening') break;
    if (server.exitCode !== null || errors !== '') return `${file} did not listen:\n${errors}`;
    return await failureOf(node, [join(project, 'ask.mjs')], project);
  } finally {
    clearTimeout(timer);
    server.kill('SIGKILL');
  }
}

/** Asks the server that a README starts: at port 3000, in front of an agent at port 8000. */
const ASK = `import { once } from 'node:events';
import { startTestAgent } from '@arc/thread-core/testing';
import { WebSocket } from 'ws';
const agent = await startTestAgent({ port: 8000 });
const socket = new WebSocket('ws://127.0.0.1:3000/ws');
await once(socket, 'open');
socket.send(JSON.stringify({ agent_id: 'support', message: { role: 'user', parts: [{ type: 'text', content: 'Hello' }] } }));
const [data] = await once(socket, 'message');
if (JSON.parse(data).type !== 'response') throw new Error(String(data));
socket.terminate();
await agent.close();
`;

/** What stands before and after a README's program that does not run by itself. */
const AROUND = {
  page: {
    before: `import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { startTestAgent } from '@arc/thread-core/testing';
import { WebSocket } from 'ws';
const agent = await startTestAgent();
const relay = createRelay({ endpoint: agent.endpoint });
const server = createServer();
serveRelay(server, relay, { path: '/ws' });
server.listen(0, '127.0.0.1');
await once(server, 'listening');
let shown = '';
globalThis.WebSocket ??= WebSocket;
globalThis.window = new EventTarget();
globalThis.location = { href: \`http://127.0.0.1:\${server.address().port}/\` };
const body = { append: (text) => { shown += text; } };
globalThis.document = Object.assign(new EventTarget(), { body, visibilityState: 'visible' });
`,
    after: `
if (!shown.includes('printer')) throw new Error(shown);
await client.close();
await relay.close();
server.close();
await agent.close();
`,
  },
  redis: {
    before: `import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
const redis = spawn(process.env.REDIS_SERVER_PATH || 'redis-server', ['--port', '6379', '--bind', '127.0.0.1', '--save', '']);
process.on('exit', () => redis.kill());
for await (const line of createInterface(redis.stdout)) if (line.includes('Ready to accept connections')) break;
`,
    after: `
const node = { name: 'a', incarnation: 'b', lease: 10_000 };
await store.join(node);
await store.leave(node);
client.destroy();
process.exit();
`,
  },
};

const failures = [];
const rows = [];
try {
  tell('Packing …');
  const packed = await pack();
  tell('Finding the versions of Node …');
  const nodes = await findNodes();
  for (const { name, missing } of packed) {
    tell(`${name}: installing and building …`);
    if (missing.length > 0) failures.push(`${name}: the tarball lacks ${missing.join(', ')}`);
    // Not all of them: the peers of one adapter would be in the way of another's types.
    const needed = neededBy(name);
    const { project, columns, isTested } = await build(
      name,
      packed.filter((one) => needed.has(one.name)).map(({ tarball }) => tarball),
    );
    writeFileSync(join(project, 'ask.mjs'), ASK);
    const programs = programsOf(name);
    for (const [version, node] of nodes) {
      tell(`${name}: running on Node ${version} …`);
      const row = { package: name, node: version };
      for (const { column, file, failure } of columns) {
        const failed = failure ?? (await failureOf(node, [file], project));
        if (failed !== undefined) failures.push(`${name}, Node ${version}, ${column}:\n${failed}`);
        row[column] = failed === undefined ? 'ok' : 'FAILED';
      }
      for (const [runner, { args }] of Object.entries(RUNNERS)) {
        const failed = isTested ? await failureOf(node, args, project) : undefined;
        if (failed !== undefined) failures.push(`${name}, Node ${version}, ${runner}:\n${failed}`);
        row[runner] = !isTested ? '' : failed === undefined ? 'ok' : 'FAILED';
      }
      let run = 0;
      for (const [index, program] of programs.entries()) {
        const failed = await runProgram(node, project, program, index);
        if (failed === undefined) run += 1;
        else failures.push(`${name}, Node ${version}, README program ${index + 1}:\n${failed}`);
      }
      row.README = run === programs.length ? `ok (${run})` : `FAILED (${programs.length - run})`;
      rows.push(row);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const names = ['package', 'node', 'import', 'require', 'nodenext', 'bundler', ...Object.keys(RUNNERS), 'README'];
const line = (cells) => `| ${cells.join(' | ')} |`;
console.log(line(names));
console.log(line(names.map(() => '---')));
for (const row of rows) console.log(line(names.map((name) => row[name])));
for (const failure of failures) console.error(`\n${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;
