import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type TypeScript from 'typescript';

// It is CommonJS, and large: it is loaded once, as Node loads it.
const ts = createRequire(import.meta.url)('typescript') as typeof TypeScript;

/** As strict as an application may be; the declarations of all that it imports are checked, too. */
const STRICT: TypeScript.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  noEmit: true,
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
};

const RESOLVERS: Record<string, TypeScript.CompilerOptions> = {
  nodenext: { module: ts.ModuleKind.NodeNext },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

/** The errors of a program with these sources, on a machine that has no `@types/ws` if that is hidden. */
function errorsOf(sources: string[], options: TypeScript.CompilerOptions, isHidden: boolean): string[] {
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, directoryExists } = host;
  const isThere = (path: string): boolean => !isHidden || !path.includes('/@types/ws');
  host.fileExists = (path) => isThere(path) && fileExists(path);
  host.readFile = (path) => (isThere(path) ? readFile(path) : undefined);
  host.directoryExists = (path) => isThere(path) && (directoryExists?.(path) ?? true);
  const files = sources.map((source) => fileURLToPath(new URL(`types/${source}.ts`, import.meta.url)));
  const errors = ts.getPreEmitDiagnostics(ts.createProgram(files, options, host));
  // Other packages' declarations are checked with ours, but their errors are not ours: @types/koa has one.
  const own = errors.filter(({ file }) => !file?.fileName.includes('/node_modules/'));
  return own.map(({ file, start = 0, messageText }) => {
    const line = file?.getLineAndCharacterOfPosition(start).line ?? 0;
    return `${file?.fileName}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, ' ').slice(0, 500)}`;
  });
}

for (const [resolver, options] of Object.entries(RESOLVERS)) {
  t.test(`identity and context are inferred, without @types/ws, as ${resolver} resolves`, async (t) => {
    t.strictSame(errorsOf(['core', 'express', 'koa', 'fastify'], { ...STRICT, ...options }, true), []);
  });
}

t.test('the sockets of ws fit, with its types', async (t) => {
  const options = { ...STRICT, ...RESOLVERS.nodenext };
  t.strictSame(errorsOf(['ws'], options, false), []);
  t.match(errorsOf(['ws'], options, true), [/declaration file for module 'ws'/], 'they are hidden above, indeed');
});
