// npm run test:fast: most of what a change breaks, without what takes long by its nature (time limits, many rounds, browsers,
// Redis), without the hosts' contract, and without coverage.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

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

for (const [workspace, slow] of Object.entries(SLOW)) {
  const gone = slow.filter((path) => !existsSync(join(root, workspace, path)));
  if (gone.length > 0) throw new Error(`scripts/test-fast.mjs names files that ${workspace} does not have: ${gone}`);
  const files = testsIn(workspace).filter((path) => !slow.includes(path));
  const args = [join(root, 'scripts/tap.mjs'), '--disable-coverage', ...files];
  const env = { ...process.env, npm_package_name: workspace };
  const { status } = spawnSync(process.execPath, args, { cwd: join(root, workspace), stdio: 'inherit', env });
  if (status !== 0) process.exitCode = 1;
}
