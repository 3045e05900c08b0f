// npm run test:node -- 22     runs `npm test` on another version of Node. The binary comes from npm's own `node` package;
// npx puts it first on the PATH, so npm, turbo, tap and everything that the tests start run on it. What follows goes to
// turbo: `-- 22 --only --filter=koa-arc` runs the tests of one workspace.
import { spawnSync } from 'node:child_process';

const [version, ...more] = process.argv.slice(2);
if (version === undefined) {
  console.error('Which version of Node? For example: npm run test:node -- 22');
  process.exit(2);
}
const on = (...command) =>
  spawnSync('npx', ['--yes', '--package', `node@${version}`, '--', ...command], { stdio: 'inherit' }).status ?? 1;

process.exitCode = on('node', '--print', '"Node " + process.version') || on('npm', 'test', '--', ...more);
