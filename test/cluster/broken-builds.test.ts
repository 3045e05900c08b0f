// The nemesis attacks broken builds on demand only. That they can still be made of the sources is known in each run.
import { readFile } from 'node:fs/promises';
import t from 'tap';
import { builds } from './broken-builds.js';

for (const { without, breakage } of builds) {
  t.test(`what a build without ${without} lacks is in the sources once`, async (t) => {
    const path = new URL(`../../packages${breakage.file}`, import.meta.url);
    t.equal((await readFile(path, 'utf8')).split(breakage.find).length - 1, 1);
  });
}
