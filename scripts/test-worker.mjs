// One of the processes of test-fast.mjs. It runs the test files that it is sent, one after the other, and prints TAP in which each file is
// a test. Starting a process and loading tap takes longer than most files, so files share both.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import './typescript/register-shared.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
// tap is a dependency of the workspaces, and not of this folder.
const tapFolder = join(createRequire(join(root, 'test/package.json')).resolve('tap/package.json'), '..');
const { default: tap } = await import(pathToFileURL(join(tapFolder, 'dist/esm/index.js')).href);

// The files have time limits. The process runs as long as there are files.
tap.setTimeout(0);

/** The next file. Only while it is awaited the channel keeps the process alive, as tap wants it. */
const next = () =>
  new Promise((resolve) => {
    process.channel.ref();
    process.once('message', (task) => {
      process.channel.unref();
      resolve(task);
    });
    process.send('next');
  });

for (let task = await next(); task.file !== undefined; task = await next()) {
  const { workspace, file } = task;
  process.chdir(join(root, workspace));
  await tap.test(`${workspace}/${file}`, { timeout: 60_000 }, async (t) => {
    globalThis[Symbol.for('arc-threads.test-of-file')] = t;
    await import(pathToFileURL(join(root, workspace, file)).href);
  });
}
tap.end();
process.disconnect();
