// Runs tap in a workspace, on emitted JavaScript. It takes tap's arguments: `node ../../scripts/tap.mjs test/x.test.ts`. With `--shared`
// instead of files it runs all of them, the fast ones together in a few processes.
// Sources are those that `tsc -b` has built. (`npx tap` works as well, more slowly, and on the sources themselves.)
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { sharedRun } from './shared-run.mjs';
import { emitAll } from './typescript/emit-all.mjs';

emitAll(process.cwd());
const register = new URL('typescript/register.mjs', import.meta.url).href;
const tap = createRequire(join(process.cwd(), 'package.json')).resolve('tap/package.json');
const args = process.argv.slice(2).flatMap((arg) => (arg === '--shared' ? sharedRun(process.cwd()) : [arg]));
const child = spawn(process.execPath, [join(tap, '../dist/esm/run.mjs'), ...args], {
  stdio: 'inherit',
  env: { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${register}`.trim() },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('close', (code, signal) => {
  process.exitCode = signal === null ? code : 1;
});
