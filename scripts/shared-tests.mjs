// Which test files share processes: starting one, and loading tap in it, takes longer than most of the files.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** By workspace, the test files that take long or need a process of their own. */
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

/** The workspaces whose tests `npm run test:fast` runs. */
export const WORKSPACES = Object.keys(SLOW);

/** The test files of a workspace that are left to processes of their own, or, by `npm run test:fast`, out. */
export function slowTestsOf(workspace) {
  const gone = SLOW[workspace].filter((path) => !existsSync(join(root, workspace, path)));
  if (gone.length > 0) throw new Error(`scripts/shared-tests.mjs names files that ${workspace} does not have: ${gone}`);
  return SLOW[workspace];
}

/** The test files of a workspace that can share a process. */
export function fastTestsOf(workspace) {
  const slow = slowTestsOf(workspace);
  return readdirSync(join(root, workspace, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.test\.tsx?$/.test(path))
    .map((path) => `test/${path.replaceAll('\\', '/')}`)
    .filter((path) => !slow.includes(path));
}
