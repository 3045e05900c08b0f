// Emits the tests' TypeScript as JavaScript, without types being checked: `npm run check:types` does that. What is emitted is kept
// in node_modules/.cache, so that a process of the tests need not load the compiler, which takes more time than most tests.
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
const cache = join(root, 'node_modules/.cache/tests');

function changedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

const require = createRequire(import.meta.url);

/** The JavaScript of a file of ours, with its source map. */
export function emit(path) {
  const target = join(cache, `${relative(root, path)}.js`);
  // This file decides how: if it has changed, everything is emitted again.
  const isFresh = changedAt(target) > Math.max(changedAt(path), changedAt(fileURLToPath(import.meta.url)));
  if (isFresh) return readFileSync(target, 'utf8');
  // Loaded only here, because it takes half a second.
  const ts = require('typescript');
  const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
    fileName: pathToFileURL(path).href,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      jsx: ts.JsxEmit.ReactJSX,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    },
  });
  mkdirSync(dirname(target), { recursive: true });
  // Processes that emit the same file at once must not read half of it.
  const part = `${target}.${process.pid}`;
  writeFileSync(part, outputText);
  renameSync(part, target);
  return outputText;
}
