// Runs tap in a workspace, on emitted JavaScript. It takes tap's arguments: `node ../../scripts/tap.mjs test/x.test.ts`. With `--shared`
// the fast files run together in a few processes: those that are named behind it, or all of the workspace.
// Sources are those that `tsc -b` has built. (`npx tap` works as well, more slowly, and on the sources themselves.)
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { sharedRun } from './shared-run.mjs';
import { emitAll } from './typescript/emit-all.mjs';

emitAll(process.cwd());
const register = new URL('typescript/register.mjs', import.meta.url).href;
const tap = createRequire(join(process.cwd(), 'package.json')).resolve('tap/package.json');
const [own, shared] = splitAt(process.argv.slice(2), '--shared');
const args = shared === undefined ? own : [...own, ...sharedRun(process.cwd(), shared)];
/** For the test files, and what they start. tap itself needs none of it, and starts faster without. */
const environment = {
  NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import=${register}`.trim(),
  // Of each file that is loaded, tap keeps its lines and reads its source map. Nothing of it is used of other packages.
  _TAPJS_PROCESSINFO_EXCLUDE_: String(/(^(node|tapmock):|[\\/](node_modules|\.tap|tap-snapshots)[\\/])/),
};
const testEnv = Object.entries(environment).map(([name, value]) => `--test-env=${name}=${value}`);
const child = spawn(process.execPath, [join(tap, '../dist/esm/run.mjs'), ...testEnv, ...args], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('close', (code, signal) => {
  process.exitCode = signal === null ? code : 1;
});

/** What is before an argument, and what is behind it; undefined if it is not there. */
function splitAt(all, arg) {
  const at = all.indexOf(arg);
  return at === -1 ? [all] : [all.slice(0, at), all.slice(at + 1)];
}
