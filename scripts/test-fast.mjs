// npm run test:fast: most of what a change breaks, without what takes long by its nature (time limits, many rounds, browsers,
// Redis), without the hosts' contract, and without coverage.
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { fastTestsOf, root, WORKSPACES } from './shared-tests.mjs';
import { listOfFailures, TestLines } from './tap-reporter.mjs';
import { emitAll } from './typescript/emit-all.mjs';

/** As many test files run at a time: most of them wait more than they work. */
const PROCESSES = 4;
const register = new URL('typescript/register.mjs', import.meta.url).href;
const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${register}`.trim() };

/** The test files that are run, the emitting of their JavaScript done. */
function tasks() {
  return WORKSPACES.flatMap((workspace) => {
    emitAll(join(root, workspace, 'test'));
    return fastTestsOf(workspace).map((file) => ({ workspace, file }));
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
