import { readFile } from 'node:fs/promises';
import t from 'tap';
import { Compile } from 'typebox/compile';
import { framesSchema } from '../../src/index.js';
import { type Json, say, to } from './helpers.js';

const published = JSON.parse(
  await readFile(new URL('../../frames.schema.json', import.meta.url), 'utf8'),
) as typeof framesSchema;

t.test('frames.schema.json is what the relay checks frames with', async (t) => {
  t.strictSame(published, JSON.parse(JSON.stringify(framesSchema)), 'else run `node scripts/write-schema.mjs`');
});

t.test('the published schema stands alone, without anything of the library that it was written with', async (t) => {
  t.equal(published.$schema, 'https://json-schema.org/draft/2020-12/schema');
  t.strictSame(Object.keys(published.$defs), ['ClientFrame', 'RelayFrame']);
  const keywords = new Set<string>();
  JSON.stringify(published.$defs, (key, value: unknown) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value) && key !== 'properties') {
      for (const keyword of Object.keys(value)) keywords.add(keyword);
    }
    return value;
  });
  for (const keyword of ['~kind', '~optional', '$ref']) t.notOk(keywords.has(keyword), keyword);
});

t.test('it says of client frames what the relay says', async (t) => {
  const schema = Compile(published.$defs.ClientFrame as never);
  const good: Json[] = [
    to('a'),
    { message: say('x') },
    to('a', 'x', { type: 'message', id: 1, context_id: 'c', trace_id: 't', stream: true, metadata: {}, more: 1 }),
    { type: 'cancel', id: 'x' },
    { type: 'end', agent_id: 'a', context_id: 'c', reason: '', id: 2 },
    { type: 'ping' },
    { type: 'ping', id: 0 },
  ];
  const bad: unknown[] = [null, [], 'x', {}, { type: 'pong' }, { type: 'cancel' }, { type: 'end' }, to('')];
  bad.push(to('a', 'x', { id: 2 ** 53 }), to('a', 'x', { stream: 1 }), { agent_id: 'a', message: { role: 'user' } });
  for (const frame of good) t.ok(schema.Check(frame), JSON.stringify(frame));
  for (const frame of bad) t.notOk(schema.Check(frame), JSON.stringify(frame));
});
