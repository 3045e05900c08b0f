import { readFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { Compile } from 'typebox/compile';
import { framesSchema } from '../../../src/index.js';
import { BadFrame, readFrame } from '../../../src/relay/frames/frame-reader.js';
import { type Json, say } from '../helpers.js';

const published = JSON.parse(
  await readFile(new URL('../../../frames.schema.json', import.meta.url), 'utf8'),
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

t.test('the reader accepts exactly the frames that the published schema allows [F-360] [F-361]', async (t) => {
  const schema = Compile(published.$defs.ClientFrame as never);
  let accepted = 0;
  let refused = 0;
  for (const frame of variants()) {
    const text = JSON.stringify(frame);
    const read = readFrame(text, 64, true);
    const expected = schema.Check(withoutNull(frame));
    if (expected === read instanceof BadFrame) t.fail(`the schema says ${expected}`, { frame });
    if (read instanceof BadFrame) refused += 1;
    else {
      accepted += 1;
      const { type: _, ...rest } = withoutNull(frame);
      const { type = 'message', ...got }: Json = { ...read };
      // Fields that the type does not have stay as they came.
      const isClean = type !== 'message' || OPTIONAL.every((name) => got[name] !== null);
      if (!isClean || !isDeepStrictEqual(withoutNull(got), rest)) t.fail('not what was written', { frame, read });
    }
  }
  t.ok(accepted > 1000 && refused > 10_000, `${accepted} frames accepted, ${refused} refused`);
});

const OPTIONAL = ['id', 'agent_id', 'context_id', 'trace_id', 'stream', 'metadata'];

/** Frames of every type, with one or two fields replaced by each of these values, and other frames altogether. */
function* variants(): Generator<Json> {
  const ids = ['', 'x', 'x'.repeat(257), '😀'.repeat(256), 0, -1, 1.5, 2 ** 53];
  const values = [
    ...ids,
    null,
    undefined,
    true,
    [],
    {},
    { role: 'user' },
    say('x'),
    { role: 1, parts: [] },
    { parts: {} },
  ];
  const types = ['message', 'cancel', 'end', 'ping', 'resume', 'ack', 'pong', '__proto__', undefined, null, 7];
  const fields = [
    'id',
    'agent_id',
    'context_id',
    'trace_id',
    'message',
    'stream',
    'metadata',
    'reason',
    'session',
    'seq',
  ];
  for (const type of types) {
    const base = {
      type,
      id: 'i',
      agent_id: 'a',
      message: say('x'),
      session: type === 'resume' ? 's' : null,
      seq: 1,
      sent: 2,
    };
    for (const [at, first] of fields.entries()) {
      for (const value of values) {
        yield { ...base, [first]: value };
        for (const second of fields.slice(at + 1, at + 3)) {
          for (const other of values.slice(0, 10)) yield { ...base, [first]: value, [second]: other };
        }
      }
    }
  }
}

/** What the frame is once `null` means absent, and a trace id is text: written apart from the reader. */
function withoutNull(frame: Json): Json {
  const required: Record<string, string[]> = {
    cancel: ['id'],
    end: ['agent_id'],
    resume: frame.session == null && frame.seq == null && frame.sent == null ? [] : ['session', 'seq', 'sent'],
    ack: ['seq'],
  };
  const kept = ['message', ...(new Map(Object.entries(required)).get(String(frame.type)) ?? [])];
  const result: Json = {};
  for (const [name, value] of Object.entries(frame)) {
    const isTrace = name === 'trace_id' && (value === '' || typeof value === 'number');
    if (value === undefined || (value === null && !kept.includes(name)) || (isTrace && value === '')) continue;
    result[name] = isTrace ? `${value}` : value;
  }
  return result;
}
