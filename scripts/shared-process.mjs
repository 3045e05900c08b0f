// Runs test files in this process, one after the other. To tap each of them is a test.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './shared-tests.mjs';
import './typescript/register-shared.mjs';

// tap is a dependency of the workspaces, and not of this folder.
const tapFolder = join(createRequire(join(root, 'test/package.json')).resolve('tap/package.json'), '..');
const { default: tap } = await import(pathToFileURL(join(tapFolder, 'dist/esm/index.js')).href);

// The files have time limits. The process runs as long as there are files.
tap.setTimeout(0);

/** Milliseconds for a file that does not say otherwise. */
const TIMEOUT = 180_000;

export async function runFile(workspace, file) {
  process.chdir(join(root, workspace));
  await tap.test(`${workspace}/${file}`, { timeout: TIMEOUT }, async (t) => {
    globalThis[Symbol.for('arc-threads.test-of-file')] = t;
    await import(pathToFileURL(join(root, workspace, file)).href);
  });
}

/** There are no more files. */
export function endFiles() {
  tap.end();
}
