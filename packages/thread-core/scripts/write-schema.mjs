// Writes frames.schema.json, which is published, from the schemas that the relay checks frames with. Run it after a
// build: `node scripts/write-schema.mjs`.
import { writeFile } from 'node:fs/promises';
import { framesSchema } from '../dist/index.js';

// As Biome formats it: an array of words is one line.
const text = JSON.stringify(framesSchema, undefined, 2).replace(/\[[^[\]{}]+\]/g, (array) =>
  array.replace(/\s+/g, ' ').replace('[ ', '[').replace(' ]', ']'),
);
await writeFile(new URL('../frames.schema.json', import.meta.url), `${text}\n`);
