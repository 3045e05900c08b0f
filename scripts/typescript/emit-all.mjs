// Emits all tests of a folder at once, in one process, so that the processes of the tests need not do it.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { emit } from './emit.mjs';

const IGNORED = new Set(['node_modules', 'dist', 'src', 'fixtures', '.tap']);

export function emitAll(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!IGNORED.has(entry.name)) emitAll(path);
    } else if (/(?<!\.d)\.tsx?$/.test(entry.name)) emit(path);
  }
}
