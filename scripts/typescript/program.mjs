// JavaScript that Node runs by itself, of a program in TypeScript and of all that it imports of ours. In a process that has module hooks each
// module takes longer to load, and most of the processes that tests start live for no more than a second or two.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { emit } from './emit.mjs';
import { redirect } from './hooks.mjs';

/** Where a relative specifier is in what was emitted: TypeScript prints each import in one line. */
const SPECIFIER = /(\bfrom |\bimport |\bimport\()(['"])(\.[^'"]*)\2/g;

function workspaceOf(folder) {
  return existsSync(join(folder, 'package.json')) ? folder : workspaceOf(dirname(folder));
}

/** The path of the JavaScript of a program. It is in the workspace, so that it finds the same packages. */
export function programOf(path, known = new Map()) {
  const workspace = workspaceOf(dirname(path));
  const target = join(workspace, '.tap/programs', `${relative(workspace, path)}.mjs`);
  if (known.has(path)) return target;
  known.set(path, target);
  const url = pathToFileURL(path).href;
  const code = emit(path)
    .replace(SPECIFIER, (_all, how, quote, specifier) => {
      const found = redirect(specifier, url) ?? new URL(specifier, url).href;
      const place = /\.tsx?$/.test(found) ? pathToFileURL(programOf(fileURLToPath(found), known)).href : found;
      return `${how}${quote}${place}${quote}`;
    })
    .replaceAll('import.meta.url', JSON.stringify(url));
  if (!existsSync(target) || readFileSync(target, 'utf8') !== code) {
    mkdirSync(dirname(target), { recursive: true });
    // Processes that write the same file at once must not read half of it.
    const part = `${target}.${process.pid}`;
    writeFileSync(part, code);
    renameSync(part, target);
  }
  return target;
}
