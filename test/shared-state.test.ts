import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import t from 'tap';
import type TypeScript from 'typescript';

const ts = createRequire(import.meta.url)('typescript') as typeof TypeScript;

const root = new URL('../', import.meta.url);
const packages = new URL('packages/', root);
const CORE = 'thread-core/src/';

const page = readFileSync(new URL('docs/shared-state.md', root), 'utf8');
const named = Array.from(page.matchAll(/`([\w/-]+(?:\.test)?\.ts)`/g), ([, path = '']) => path);

/** The packages that run on a server. */
const FOLDERS = readdirSync(packages).filter(
  (name) => !['thread-client', 'host-contract', 'test-client'].includes(name),
);

const sources = FOLDERS.flatMap((name) =>
  readdirSync(new URL(`${name}/src/`, packages), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.startsWith('testing'))
    .map((path) => `${name}/src/${path}`),
);

const COLLECTIONS = ['Map', 'Set', 'WeakMap', 'WeakSet', 'LogLimiter', 'Array'];
const TIMERS = ['setTimeout', 'setInterval', 'setImmediate', 'nextTick', 'queueMicrotask', 'delay', 'endOfTurn'];
const LISTENERS = ['on', 'once', 'addListener', 'prependListener'];

/** What of interest is in a file: regular expressions, callbacks, collections. */
function contentOf(file: string): Set<string> {
  const source = ts.createSourceFile(file, readFileSync(new URL(file, packages), 'utf8'), ts.ScriptTarget.Latest);
  const found = new Set<string>();
  const visit = (node: TypeScript.Node): void => {
    if (ts.isRegularExpressionLiteral(node)) found.add('a regular expression');
    if (ts.isNewExpression(node)) {
      const name = node.expression.getText(source);
      if (name === 'RegExp') found.add('a regular expression');
      if (COLLECTIONS.includes(name)) found.add('a collection');
    }
    if (ts.isCallExpression(node)) {
      const { expression } = node;
      if (ts.isIdentifier(expression) && TIMERS.includes(expression.text)) found.add('a callback');
      if (ts.isPropertyAccessExpression(expression)) {
        const { text } = expression.name;
        if (TIMERS.includes(text) || LISTENERS.includes(text)) found.add('a callback');
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

t.test('docs/shared-state.md names every file with a regular expression, a callback or a collection', async (t) => {
  const missing = sources
    .filter((file) => !named.includes(file.startsWith(CORE) ? file.slice(CORE.length) : file))
    .map((file) => [file, ...contentOf(file)] as const)
    .filter(([, ...found]) => found.length > 0);
  t.strictSame(missing, []);
  t.ok(sources.length > 150, 'the sources were found');
});

t.test('docs/shared-state.md names no file that there is not', async (t) => {
  const folders = [new URL(CORE, packages), new URL('thread-core/test/', packages), packages, root];
  t.strictSame(
    named.filter((path) => !folders.some((folder) => existsSync(new URL(path, folder)))),
    [],
  );
  t.ok(named.length > 50, 'the files were found');
});
