import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { plainNode } from './child-process.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

interface Outcome {
  code: number | null;
  output: string;
}

function run(file: string, args: readonly string[], cwd: string): Promise<Outcome> {
  const { execPath, execArgv } = plainNode();
  return new Promise((resolve) => {
    const child = spawn(execPath, [...execArgv, file, ...args], { cwd });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
    child.on('close', (code) => resolve({ code, output }));
  });
}

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'imports-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

function write(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

const checkImports = (root: string) => run(join(ROOT, 'scripts/check-imports.mjs'), [root], ROOT);

t.test('imports go in one direction: host, relay, threads, client, protocol', async (t) => {
  t.strictSame(await checkImports(ROOT), { code: 0, output: '' });
});

t.test('an import against the direction fails the check, one of a type as well', async (t) => {
  const root = folder(t);
  for (const name of readdirSync(join(ROOT, 'packages'))) {
    cpSync(join(ROOT, 'packages', name, 'src'), join(root, 'packages', name, 'src'), { recursive: true });
  }
  t.strictSame(await checkImports(root), { code: 0, output: '' });
  const core = 'packages/thread-core/src';
  const bad: Record<string, [text: string, problem: RegExp]> = {
    [`${core}/protocol/bad.ts`]: ["import type { Relay } from '../relay/relay.js';", /protocol\/ is below relay\//],
    [`${core}/client/bad.ts`]: [
      "export type { SendRequest } from '../threads/send.js';",
      /client\/ is below threads\//,
    ],
    [`${core}/threads/bad.ts`]: [
      "export const relay = await import('../relay/relay.js');",
      /threads\/ is below relay\//,
    ],
    [`${core}/relay/bad.ts`]: ["import '../testing/index.js';", /only index.ts imports from testing\//],
    [`${core}/relay/index.ts`]: ["import { ArcClient } from '../index.js';", /nothing imports index.ts/],
    [`${core}/bad.ts`]: ["import type { ArcError } from './protocol/errors.js';", /from no folder/],
    [`${core}/new-folder/bad.ts`]: ["import '../client/call.js';", /new-folder\/ has no place in LAYERS/],
    [`${core}/relay/bad-2.ts`]: ["import 'koa-arc';", /thread-core does not import from koa-arc/],
    'packages/thread-protocol/src/bad.ts': ["import 'node:fs';", /runs in browsers/],
    'packages/koa-arc/src/bad.ts': ["import 'express-arc';", /koa-arc does not import from express-arc/],
    'packages/koa-arc/src/bad-2.ts': ["import '../../thread-core/src/index.js';", /others by their names/],
    'packages/new-package/src/bad.ts': ['export {};', /new-package\/src: the package has no place in PACKAGES/],
  };
  for (const [path, [text]] of Object.entries(bad)) write(root, { [path]: `${text}\n` });
  const { code, output } = await checkImports(root);
  t.equal(code, 1);
  const lines = output.trimEnd().split('\n');
  t.equal(lines.length, Object.keys(bad).length, output);
  for (const [path, [, problem]] of Object.entries(bad)) {
    const about = path.startsWith('packages/new-package') ? 'packages/new-package' : path;
    t.match(
      lines.find((line) => line.startsWith(about)),
      problem,
      path,
    );
  }
});

t.test('a cycle of imports fails the lint, one of types as well', async (t) => {
  const root = folder(t);
  cpSync(join(ROOT, 'biome.json'), join(root, 'biome.json'));
  write(root, {
    'a.ts': "import type { B } from './b.js';\nexport interface A {\n  b: B;\n}\n",
    'b.ts': "import type { A } from './a.js';\nexport interface B {\n  a: A;\n}\n",
  });
  const biome = join(ROOT, 'node_modules/@biomejs/biome/bin/biome');
  const { code, output } = await run(biome, ['lint', '--vcs-enabled=false', '.'], root);
  t.equal(code, 1, output);
  t.match(output, /noImportCycles/);
  write(root, { 'a.ts': 'export interface A {\n  b: string;\n}\n' });
  t.match(await run(biome, ['lint', '--vcs-enabled=false', '.'], root), { code: 0 });
});
