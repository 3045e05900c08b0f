import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { plainNode } from '../child-process.js';
import { folder } from './program.js';

const types = new URL('types/', folder);

/** As strict as it gets, in the way in which Node resolves modules. */
const OPTIONS = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  module: 'nodenext',
  target: 'es2023',
  lib: ['es2023', 'dom', 'esnext.disposable'],
  jsx: 'react-jsx',
  types: ['node'],
  skipLibCheck: true,
  noEmitOnError: false,
  outDir: 'out',
  rootDir: '.',
};

/**
 * Compiles sources, each by its name, as modules of one strict TypeScript program. Returns the errors, each line with the
 * name of its source in front.
 */
export function compile(sources: ReadonlyMap<string, string>): string[] {
  mkdirSync(types, { recursive: true });
  const names = [...sources.keys()];
  for (const [index, name] of names.entries()) {
    const source = sources.get(name) ?? '';
    // TypeScript reads JSX in .tsx files only.
    const extension = source.includes("/react';") ? 'tsx' : 'mts';
    writeFileSync(new URL(`${index}.${extension}`, types), source);
  }
  const include = ['*.mts', '*.tsx'];
  writeFileSync(new URL('tsconfig.json', types), JSON.stringify({ compilerOptions: OPTIONS, include }));
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const { execPath, execArgv } = plainNode();
  const { stdout } = spawnSync(execPath, [...execArgv, tsc, '-p', '.', '--pretty', 'false'], {
    cwd: fileURLToPath(types),
    encoding: 'utf8',
  });
  const lines = stdout.split('\n').filter((line) => line !== '');
  return lines.map((line) => line.replace(/^(\d+)\.(?:mts|tsx)/, (_all, index) => names[Number(index)] ?? ''));
}

/** What `compile` made of the source at this position. */
export function emitted(index: number): string {
  return readFileSync(new URL(`out/${index}.mjs`, types), 'utf8');
}
