// Runs tap in a workspace, on emitted JavaScript. It takes tap's arguments: `node ../../scripts/tap.mjs test/x.test.ts`.
// Sources are those that `tsc -b` has built. (`npx tap` works as well, more slowly, and on the sources themselves.)
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { emitAll } from './typescript/emit-all.mjs';

emitAll(process.cwd());
const register = new URL('typescript/register.mjs', import.meta.url).href;
const tap = createRequire(join(process.cwd(), 'package.json')).resolve('tap/package.json');
const child = spawn(process.execPath, [join(tap, '../dist/esm/run.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${register}`.trim() },
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('close', (code, signal) => {
  process.exitCode = signal === null ? code : 1;
});
