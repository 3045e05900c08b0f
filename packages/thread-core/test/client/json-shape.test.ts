import { Random } from '@arc/test-client';
import { chatIdOf } from '@arc/thread-protocol';
import t from 'tap';
import { encode } from '../../src/bytes.js';
import { type ArcEvent, EventParser } from '../../src/client/event.js';

/** What an event must be, read with nothing but JSON.parse. */
function plainly(text: string): Pick<ArcEvent, 'data' | 'json' | 'chatId'> {
  try {
    const data: unknown = JSON.parse(text);
    return { data, json: text, chatId: chatIdOf(data) };
  } catch {
    return { data: text, json: JSON.stringify(text), chatId: undefined };
  }
}

const CHARACTERS = [
  'a',
  ' ',
  '"',
  '\\',
  '\n',
  'é',
  '漢',
  '{',
  '}',
  ',',
  ':',
  '😀',
  '\ud800',
  '1',
  '\u2028',
  'c',
  'chatId',
];
const BREAKS = [
  '{',
  '}',
  '"',
  ',',
  ':',
  '\\',
  '\\u12',
  '\\u0041',
  '\\a',
  '\\"',
  '1',
  'x',
  '\u0001',
  '\t',
  '[',
  ']',
  '',
];

/** Events of one kind, which differ in one string: where it stands is the kind's own. */
const KINDS: ((piece: string, rest: string) => string)[] = [
  (piece, rest) => `{"chatId":"c-1","message":{"parts":[{"type":"TextPart","content":${piece}}]},"n":${rest}}`,
  (piece, rest) => `{"content":${piece},"chatId":${rest}}`,
  (piece, rest) => `{"k":${rest},"chatId":${piece}}`,
  (piece) => `{"chat":{"chatId":${piece}}}`,
  (piece, rest) => `{"result":{"chat":{"chatId":${piece}}},"k":${rest}}`,
  (piece, rest) => `{${piece}:${rest}}`,
  (piece, rest) => `{"chatId":${rest},"chatId":${piece}}`,
  (piece, rest) => `{"chatId":"","chat":{"chatId":${piece}},"k":[${rest}]}`,
  // What differs is a number here, and no string.
  (piece, rest) => `{"k":${rest},"n":${piece.length},"z":0}`,
  (piece) => piece,
  (piece, rest) => ` [ ${rest} , ${piece} , 12345678901234567890, 1e400 ] `,
];

/** Whether anything was parsed meanwhile. */
function watched<Result>(run: () => Result): { result: Result; parsed: boolean } {
  const { parse } = JSON;
  let parsed = false;
  JSON.parse = (text) => {
    parsed = true;
    return parse(text);
  };
  try {
    return { result: run(), parsed };
  } finally {
    JSON.parse = parse;
  }
}

t.test('an event is what JSON.parse makes of it, whatever the events before it were', async (t) => {
  const seed = Number(process.env.ARC_TEST_SEED ?? Date.now() % 2 ** 31);
  t.comment(`seed ${seed}`);
  const random = new Random(seed);
  const any = <Item>(items: readonly Item[]): Item => random.pick(items);
  const word = (): string => Array.from({ length: random.below(5) }, () => any(CHARACTERS)).join('');
  const mutated = (text: string): string => {
    const at = random.below(text.length + 1);
    return text.slice(0, at) + any(BREAKS) + text.slice(at + random.below(3));
  };
  let known = 0;
  for (let stream = 0; stream < 10_000; stream += 1) {
    const events = new EventParser();
    const kind = any(KINDS);
    const rest = JSON.stringify(word());
    for (let n = 0; n < 6; n += 1) {
      const sound = (random.below(8) === 0 ? any(KINDS) : kind)(
        JSON.stringify(word()),
        random.below(8) === 0 ? '0' : rest,
      );
      // Half a character has no bytes.
      const text = Buffer.from(random.below(4) === 0 ? mutated(sound) : sound).toString();
      const expected = plainly(text);
      const { result: event, parsed } = watched(() => events.read(encode('stream'), encode(text)));
      if (!parsed) known += 1;
      const { data, json, chatId } = event;
      // Compared as text first, which is much faster than `same`, a hundred thousand times.
      if (JSON.stringify([data, json, chatId]) !== JSON.stringify([expected.data, expected.json, expected.chatId])) {
        t.same({ data, json, chatId }, expected, `seed ${seed}: ${text}`);
        return;
      }
    }
  }
  t.ok(known > 2000, `${known} events were known by their shape`);
});

t.test('events that differ in one string are not parsed, and can be', async (t) => {
  const events = new EventParser();
  const piece = (content: string): string => `{"chatId":"c-1","parts":[{"content":${JSON.stringify(content)}}]}`;
  events.read(encode(''), encode(piece('one')));
  events.read(encode(''), encode(piece('two')));
  const event = events.read(encode(''), encode(piece('a "quote", and\na line')));
  t.notOk(Object.hasOwn(event, 'data'), 'it was known by its shape');
  t.same(event.data, { chatId: 'c-1', parts: [{ content: 'a "quote", and\na line' }] });
  t.equal(event.chatId, 'c-1');
  t.equal(event.json, piece('a "quote", and\na line'));
  t.equal(event.event, 'content');
});

t.test('an event of the same shape with a very long string is read', async (t) => {
  const events = new EventParser();
  for (const text of ['"a"', '"b"', `"${'x'.repeat(20_000_000)}"`, `"${'\\n'.repeat(10_000_000)}"`]) {
    t.equal(events.read(encode(''), encode(text)).json === text, true);
  }
  t.equal(
    events.read(encode(''), encode(`"${'\\n'.repeat(5000)}\t"`)).json,
    JSON.stringify(`"${'\\n'.repeat(5000)}\t"`),
    'a tab is none of JSON',
  );
});

t.test('an event whose varying string is its chat is in that chat', async (t) => {
  const events = new EventParser();
  const ids = ['c-1', 'c-2', 'c-3', 'c-4'].map((id) => events.read(encode(''), encode(`{"chatId":"${id}"}`)).chatId);
  t.same(ids, ['c-1', 'c-2', 'c-3', 'c-4']);
});

t.test('an event whose varying string names its field is in the chat that it names', async (t) => {
  const events = new EventParser();
  const ids = ['a', 'b', 'chatId', 'c'].map((name) => events.read(encode(''), encode(`{"${name}":"c-1"}`)).chatId);
  t.same(ids, [undefined, undefined, 'c-1', undefined]);
});
