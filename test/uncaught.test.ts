// tap finds the test to which an error belongs that nobody has caught. scripts/typescript/domain.mjs does so in less time, and must come to
// the same.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type Command, plainNode, register } from './child-process.js';

const program = fileURLToPath(new URL('fixtures/uncaught.mjs', import.meta.url));

interface Outcome {
  code: number | null;
  /** What is said of each test, and of each error. */
  lines: string[];
}

async function run({ execPath, execArgv }: Command): Promise<Outcome> {
  const child = spawn(execPath, [...execArgv, program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const output = await text(child.stdout);
  const [code] = await closed;
  const lines = output
    .split('\n')
    .filter((line) => /^ *(ok|not ok|tapCaught:|test:)/.test(line))
    .map((line) => line.replace(/ # time=.*/, ''));
  return { code, lines };
}

t.test('an error that nobody catches fails the test in which it came to be, and no other', async (t) => {
  const [usual, ours] = await Promise.all([run(plainNode()), run(plainNode('--import', register))]);
  t.strictSame(ours, usual, 'as with async-hook-domain');
  t.equal(ours.code, 1);
  const isSaid = (how: string, name: string): boolean =>
    ours.lines.some((line) => line.trim().startsWith(`${how} `) && line.endsWith(name));
  for (const name of [
    'a timer that throws',
    'a rejection that nobody handles',
    'a socket whose listener throws',
    'an HTTP server that throws',
    'the one that fails',
    'the inner one that fails',
    'too late',
  ]) {
    t.ok(isSaid('not ok', name), name);
  }
  for (const name of ['one that goes on while another fails', 'one that catches', 'the last one']) {
    t.ok(isSaid('ok', name), name);
  }
});
