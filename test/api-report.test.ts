import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { plainNode } from './child-process.js';

const { execPath, execArgv } = plainNode();

const script = fileURLToPath(new URL('../scripts/api-report.mjs', import.meta.url));

/** The lines about what has no doc comment. */
function undocumented(...args: string[]): string[] {
  const { stderr } = spawnSync(execPath, [...execArgv, script, '--check', ...args], { encoding: 'utf8' });
  return stderr.split('\n').filter((line) => !line.includes('is not up to date') && line !== '');
}

t.test('everything that is public has a doc comment', async (t) => {
  t.strictSame(undocumented(), []);
});

t.test('a public name, method or option without a doc comment is found, and what is internal is not', async (t) => {
  const declarations = `
    export interface SomeOptions {
      size?: number;
      /** Documented. */
      color?: string;
    }
    /** Documented. */
    export declare class Some {
      run(): void;
      /** @internal */
      hidden(): void;
    }
    /** @internal */
    export declare const internal: number;
    export declare function bare(): void;
  `;
  const root = t.testdir({
    packages: {
      some: {
        'package.json': JSON.stringify({ name: 'some', exports: { '.': { types: './dist/index.d.ts' } } }),
        dist: { 'index.d.ts': declarations },
      },
    },
  });
  const found = undocumented('--root', `${root}/`).map((line) => line.replace(/^.*: (.*) has no doc comment$/, '$1'));
  t.strictSame(found, ['Some.run', 'SomeOptions', 'SomeOptions.size', 'bare']);
});
