// For tap.mjs --shared: programs for tap that run several test files each.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fastTestsOf, root, slowTestsOf } from './shared-tests.mjs';

/** More of them share the work out better, and fewer start faster. */
const PROGRAMS = 8;

/** What tap is to run: the slow files of a workspace, which begin, and programs that run the others. */
export function sharedRun(folder) {
  const workspace = relative(root, folder).replaceAll('\\', '/');
  const programs = join(folder, '.tap/shared');
  rmSync(programs, { recursive: true, force: true });
  mkdirSync(programs, { recursive: true });
  const shares = Array.from({ length: PROGRAMS }, () => []);
  for (const [index, file] of fastTestsOf(workspace).entries()) shares[index % PROGRAMS].push(file);
  const shared = new URL('shared-process.mjs', import.meta.url).href;
  for (const [index, files] of shares.entries()) {
    const lines = [
      `import { endFiles, runFile } from '${shared}';`,
      ...files.map((file) => `await runFile('${workspace}', '${file}');`),
      'endFiles();',
    ];
    writeFileSync(join(programs, `${index + 1}.mjs`), `${lines.join('\n')}\n`);
  }
  return [...slowTestsOf(workspace), ...shares.map((_files, index) => `.tap/shared/${index + 1}.mjs`)];
}
