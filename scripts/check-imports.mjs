// Checks that imports, those of types included, only go in one direction: between the folders of thread-core, and
// between packages. `node scripts/check-imports.mjs [folder of the repository]`
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** A folder of thread-core may import from the folders below it. Files beside the folders are below all of them. */
const LAYERS = ['host', 'relay', 'threads', 'client', 'protocol'];
const CORE = 'packages/thread-core/src';

/** Folders beside the layers, and what they may import from. Nothing but index.ts may import from these folders. */
const BESIDE = {
  // The test agent, and the contract that stores must pass.
  testing: { folders: ['protocol'], files: ['relay/store/session-store'] },
  // The callback of task.subscribe, for each framework.
  tasks: { folders: ['client', 'protocol'], files: [] },
};

/** What a package may import from the others. `pure`: it runs in browsers, so it imports no module of Node. */
const PACKAGES = {
  'thread-protocol': { from: [], pure: true },
  'thread-core': { from: ['@arc/thread-protocol'] },
  'thread-client': { from: ['@arc/thread-protocol'], pure: true },
  'thread-redis': { from: ['@arc/thread-core', '@arc/thread-protocol'] },
  'thread-otel': { from: ['@arc/thread-core', '@arc/thread-protocol'] },
  // Private: for tests.
  'test-client': { from: [] },
  'host-contract': { from: ['@arc/test-client', '@arc/thread-core'] },
  'fastify-arc': { from: ['@arc/thread-core', '@arc/thread-protocol'] },
  'express-arc': { from: ['@arc/thread-core', '@arc/thread-protocol'] },
  'koa-arc': { from: ['@arc/thread-core', '@arc/thread-protocol'] },
};

const root = process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url));

function sourcesOf(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.tsx?$/.test(path))
    .map((path) => join(folder, path).replaceAll(sep, '/'))
    .sort();
}

/** Everything that a file imports, exports from, or loads later: types as well. */
function importsOf(file) {
  return ts
    .preProcessFile(readFileSync(join(root, file), 'utf8'), true, true)
    .importedFiles.map(({ fileName }) => fileName);
}

/** The folder of thread-core that a file is in; empty for a file beside the folders. */
function folderOf(file) {
  const [first, ...rest] = relative(CORE, file).split(sep);
  return rest.length > 0 ? first : '';
}

function coreProblem(file, target) {
  if (file === `${CORE}/index.ts` || file === `${CORE}/host.ts`) return undefined;
  const [from, to] = [folderOf(file), folderOf(target)];
  if (from === to || to === '') return target === `${CORE}/index.ts` ? 'nothing imports index.ts' : undefined;
  if (from === '') return `files beside the folders import from no folder, not from ${to}/`;
  if (to in BESIDE) return `only index.ts imports from ${to}/`;
  const beside = BESIDE[from];
  if (beside !== undefined) {
    const isAllowed = beside.folders.includes(to) || beside.files.some((path) => target.startsWith(`${CORE}/${path}.`));
    return isAllowed ? undefined : `${from}/ does not import from ${to}/`;
  }
  if (!LAYERS.includes(from) || !LAYERS.includes(to))
    return `${LAYERS.includes(from) ? to : from}/ has no place in LAYERS`;
  return LAYERS.indexOf(from) < LAYERS.indexOf(to) ? undefined : `${from}/ is below ${to}/ (${LAYERS.join(' → ')})`;
}

function packageProblem(name, specifier) {
  const { from, pure } = PACKAGES[name];
  const [scope, rest] = specifier.split('/');
  const imported = scope.startsWith('@') ? `${scope}/${rest}` : scope;
  if (pure && specifier.startsWith('node:')) return 'it runs in browsers, and imports no module of Node';
  const isOurs = imported.startsWith('@arc/') || imported in PACKAGES;
  return isOurs && !from.includes(imported) ? `${name} does not import from ${imported}` : undefined;
}

const problems = [];
for (const name of readdirSync(join(root, 'packages'))) {
  const src = `packages/${name}/src`;
  const files = sourcesOf(src);
  if (files.length > 0 && !(name in PACKAGES)) problems.push(`${src}: the package has no place in PACKAGES`);
  if (!(name in PACKAGES)) continue;
  for (const file of files) {
    for (const specifier of importsOf(file)) {
      const target = normalize(join(dirname(file), specifier)).replaceAll(sep, '/');
      const problem = !specifier.startsWith('.')
        ? packageProblem(name, specifier)
        : !target.startsWith(`${src}/`)
          ? 'a package imports others by their names'
          : name === 'thread-core'
            ? coreProblem(file, target.replace(/\.js$/, '.ts'))
            : undefined;
      if (problem !== undefined) problems.push(`${file} imports ${specifier}: ${problem}`);
    }
  }
}
for (const problem of problems) process.stderr.write(`${problem}\n`);
process.exitCode = problems.length > 0 ? 1 : 0;
