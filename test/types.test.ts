import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type TypeScript from 'typescript';

// It is CommonJS, and large: it is loaded once, as Node loads it.
const ts = createRequire(import.meta.url)('typescript') as typeof TypeScript;

/** As strict as an application may be; the declarations of our packages that it imports are checked, too. */
const STRICT: TypeScript.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  noEmit: true,
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  jsx: ts.JsxEmit.ReactJSX,
  types: ['node'],
};

const RESOLVERS: Record<string, TypeScript.CompilerOptions> = {
  nodenext: { module: ts.ModuleKind.NodeNext },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

const PROGRAMS = [
  'core.ts',
  'express.ts',
  'koa.ts',
  'fastify.ts',
  'client.ts',
  'react.tsx',
  'ai.ts',
  'redis.ts',
  'otel.ts',
];

/** Other packages' declarations, which are read and parsed once for all compilations: as TypeScript's language service does it. */
const parsed = new Map<string, TypeScript.SourceFile | undefined>();

/** The errors of a program with these sources, on a machine that has no `@types/ws` if that is hidden. */
function errorsOf(sources: string[], options: TypeScript.CompilerOptions, isHidden: boolean): string[] {
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, directoryExists, getSourceFile } = host;
  const isThere = (path: string): boolean => !isHidden || !path.includes('/@types/ws');
  host.fileExists = (path) => isThere(path) && fileExists(path);
  host.readFile = (path) => (isThere(path) ? readFile(path) : undefined);
  host.directoryExists = (path) => isThere(path) && (directoryExists?.(path) ?? true);
  host.getSourceFile = (path, target, ...rest) => {
    if (!path.includes('/node_modules/')) return getSourceFile(path, target, ...rest);
    const key = `${path} ${typeof target === 'object' && target.impliedNodeFormat}`;
    if (!parsed.has(key)) parsed.set(key, getSourceFile(path, target, ...rest));
    return parsed.get(key);
  };
  const files = sources.map((source) => fileURLToPath(new URL(`types/${source}`, import.meta.url)));
  const program = ts.createProgram(files, options, host);
  // Not other packages' declarations: that takes most of the time, and their errors are not ours. @types/koa has one.
  const own = program.getSourceFiles().filter(({ fileName }) => !fileName.includes('/node_modules/'));
  const errors = own.flatMap((file) => [
    ...program.getSyntacticDiagnostics(file),
    ...program.getSemanticDiagnostics(file),
  ]);
  return [...program.getOptionsDiagnostics(), ...errors].map(({ file, start = 0, messageText }) => {
    const line = file?.getLineAndCharacterOfPosition(start).line ?? 0;
    return `${file?.fileName}:${line + 1} ${ts.flattenDiagnosticMessageText(messageText, ' ').slice(0, 500)}`;
  });
}

for (const [resolver, options] of Object.entries(RESOLVERS)) {
  t.test(`what users write compiles strictly, without @types/ws, as ${resolver} resolves [F-524]`, async (t) => {
    const errors = errorsOf([...PROGRAMS, 'ws.ts'], { ...STRICT, ...options }, true);
    const isOfWs = (error: string): boolean => error.includes('/types/ws.ts:');
    t.match(errors.find(isOfWs), /declaration file for module 'ws'/, 'they are hidden, indeed');
    t.strictSame(
      errors.filter((error) => !isOfWs(error)),
      [],
    );
  });
}

t.test('the sockets of ws fit, with its types', async (t) => {
  t.strictSame(errorsOf(['ws.ts'], { ...STRICT, ...RESOLVERS.nodenext }, false), []);
});
