// For tap.mjs --shared: programs for tap that run several test files each.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fastTestsOf, root, slowTestsOf } from './shared-tests.mjs';

/** More of them share the work out better, and fewer start faster. */
const PROGRAMS = 8;

/** Files that are not worth another program. */
const FILES = 8;

/** What tap is to run: the slow files of a workspace, or those of them that are given, which begin, and programs that run the others. */
export function sharedRun(folder, given) {
  const workspace = relative(root, folder).replaceAll('\\', '/');
  const place = join(folder, '.tap/shared');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const isGiven = (file) => given.length === 0 || given.includes(file);
  const [slow, fast] = [slowTestsOf(workspace).filter(isGiven), fastTestsOf(workspace).filter(isGiven)];
  const missing = given.filter((file) => !slow.includes(file) && !fast.includes(file));
  if (missing.length > 0) throw new Error(`${workspace} has no ${missing}`);
  const programs = Math.min(PROGRAMS, Math.ceil(fast.length / FILES));
  const shares = Array.from({ length: programs }, () => []);
  for (const [index, file] of fast.entries()) shares[index % programs].push(file);
  const shared = new URL('shared-process.mjs', import.meta.url).href;
  for (const [index, files] of shares.entries()) {
    const lines = [
      `import { endFiles, runFile } from '${shared}';`,
      ...files.map((file) => `await runFile('${workspace}', '${file}');`),
      'endFiles();',
    ];
    writeFileSync(join(place, `${index + 1}.mjs`), `${lines.join('\n')}\n`);
  }
  return [...slow, ...shares.map((_files, index) => `.tap/shared/${index + 1}.mjs`)];
}
