// One of the processes of test-fast.mjs. It runs the test files that it is sent, one after the other, and prints TAP in which each file is
// a test.
import { endFiles, runFile } from './shared-process.mjs';

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

for (let task = await next(); task.file !== undefined; task = await next()) await runFile(task.workspace, task.file);
endFiles();
process.disconnect();
