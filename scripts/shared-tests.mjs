// Which test files share processes: starting one, and loading tap in it, takes longer than most of the files.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
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

/** The workspace whose tests cross the packages. Its .taprc says which folders have test files. */
const CROSSING = 'test';

function foldersOfCrossing() {
  const [, folders] = /\{([\w,]+)\}\/\*\.test\.ts/.exec(readFileSync(join(root, CROSSING, '.taprc'), 'utf8'));
  return ['.', ...folders.split(',')];
}

/** Its test files that can share processes. Most of the others take long, use a browser, or measure their process. */
const SHARED = [
  'adapters.test.ts',
  'api-report.test.ts',
  'asyncapi.test.ts',
  'cluster/broken-builds.test.ts',
  'core.test.ts',
  'examples.test.ts',
  'faults/exits-by-itself.test.ts',
  'imports.test.ts',
  'manifest.test.ts',
  'model/broken-builds.test.ts',
  'nginx.test.ts',
  'notifications.test.ts',
  'python-relay.test.ts',
  'regular-expressions.test.ts',
  'release.test.ts',
  'shared-state.test.ts',
  'shutdown.test.ts',
  'types.test.ts',
  'uncaught.test.ts',
];

/** The test files in a folder of a workspace, relative to the workspace. */
function testsIn(workspace, folder, recursive) {
  return readdirSync(join(root, workspace, folder), { recursive, encoding: 'utf8' })
    .filter((path) => /\.test\.tsx?$/.test(path))
    .map((path) => posix.join(folder, path.replaceAll('\\', '/')))
    .sort();
}

function testsOf(workspace) {
  if (workspace !== CROSSING) return testsIn(workspace, 'test', true);
  return foldersOfCrossing().flatMap((folder) => testsIn(workspace, folder, false));
}

/** The test files of a workspace that are left to processes of their own, or, by `npm run test:fast`, out. */
export function slowTestsOf(workspace) {
  const named = workspace === CROSSING ? SHARED : SLOW[workspace];
  const gone = named.filter((path) => !existsSync(join(root, workspace, path)));
  if (gone.length > 0) throw new Error(`scripts/shared-tests.mjs names files that ${workspace} does not have: ${gone}`);
  return workspace === CROSSING ? testsOf(workspace).filter((path) => !SHARED.includes(path)) : SLOW[workspace];
}

/** The test files of a workspace that can share a process. */
export function fastTestsOf(workspace) {
  const slow = slowTestsOf(workspace);
  return testsOf(workspace).filter((path) => !slow.includes(path));
}
