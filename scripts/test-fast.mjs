// npm run test:fast: most of what a change breaks, without what takes long by its nature (time limits, many rounds, browsers,
// Redis), without the hosts' contract, and without coverage.
import { fork } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { listOfFailures, TestLines } from './tap-reporter.mjs';
import { emitAll } from './typescript/emit-all.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** As many test files run at a time: most of them wait more than they work. */
const PROCESSES = 4;
const register = new URL('typescript/register.mjs', import.meta.url).href;
const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${register}`.trim() };

/** The test files that are left out. */
const SLOW = {
  'packages/thread-protocol': [],
  'packages/thread-core': [
    'test/client/breaker.test.ts',
    'test/client/isolation.test.ts',
    'test/client/keep-alive.test.ts',
    'test/client/retries.test.ts',
    'test/client/streams.test.ts',
    'test/relay/connection/backpressure.test.ts',
    'test/relay/connection/close.test.ts',
    'test/relay/cluster/cluster.test.ts',
    'test/relay/limits.test.ts',
    'test/relay/session/pending-bytes.test.ts',
    'test/relay/session/session.test.ts',
    'test/threads/callbacks.test.ts',
    'test/threads/every-send-ends.test.ts',
    'test/threads/orphans.test.ts',
  ],
  'packages/thread-client': ['test/reconnect.test.ts', 'test/ai.test.ts'],
  'packages/fastify-arc': ['test/contract.test.ts'],
  'packages/express-arc': ['test/express-4.test.ts', 'test/express-5.test.ts', 'test/express-ws.test.ts'],
  'packages/koa-arc': ['test/koa-2.test.ts', 'test/koa-3.test.ts'],
};

const testsIn = (workspace) =>
  readdirSync(join(root, workspace, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.test\.tsx?$/.test(path))
    .map((path) => `test/${path.replaceAll('\\', '/')}`);

/** The test files that are run, the emitting of their JavaScript done. */
function tasks() {
  return Object.entries(SLOW).flatMap(([workspace, slow]) => {
    const gone = slow.filter((path) => !existsSync(join(root, workspace, path)));
    if (gone.length > 0) throw new Error(`scripts/test-fast.mjs names files that ${workspace} does not have: ${gone}`);
    emitAll(join(root, workspace, 'test'));
    return testsIn(workspace)
      .filter((path) => !slow.includes(path))
      .map((file) => ({ workspace, file }));
  });
}

/** Runs test files in a process of its own until there are none left. Gives the names of the tests that failed. */
async function work(queue) {
  const worker = fork(join(root, 'scripts/test-worker.mjs'), { stdio: ['ignore', 'pipe', 'inherit', 'ipc'], env });
  const lines = new TestLines({ wholeFiles: true });
  const ended = new Promise((resolve) => worker.on('close', (code, signal) => resolve(signal ?? code)));
  let task;
  worker.on('message', (message) => {
    // tap sends messages of its own.
    if (message !== 'next') return;
    task = queue.shift();
    worker.send(task ?? {});
  });
  worker.stdout.pipe(lines).pipe(process.stdout, { end: false });
  await finished(lines, { readable: false });
  const outcome = await ended;
  if (outcome === 0 || lines.failures.length > 0) return lines.failures;
  return [`${task.workspace}/${task.file} ended its process (${outcome})`];
}

const queue = tasks();
const failures = (await Promise.all(Array.from({ length: PROCESSES }, () => work(queue)))).flat();
for (const { workspace, file } of queue) failures.push(`${workspace}/${file} was not run`);
console.log(listOfFailures(failures));
if (failures.length > 0) process.exitCode = 1;
