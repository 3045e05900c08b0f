import t from 'tap';
import { encode } from '../../src/bytes.js';
import { Template } from '../../src/client/template.js';
import { ArcClient } from '../../src/index.js';
import { startTestAgent } from '../../src/testing/index.js';

/** mulberry32: numbers that a seed gives again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const envelope = (id: unknown, content: unknown, more: object = {}): string =>
  JSON.stringify({
    arc: '1.0',
    id,
    result: { type: 'chat', chat: { chatId: 'c', n: 12, parts: [{ content }] }, ...more },
    error: null,
  });

/** A value without what its strings and numbers say. */
function bare(value: unknown): unknown {
  if (typeof value !== 'object' || value === null)
    return typeof value === 'boolean' ? value : value === null ? null : typeof value;
  if (Array.isArray(value)) return value.map(bare);
  return Object.entries(value).map(([name, inner]) => [name, bare(inner)]);
}

t.test('a text that differs in strings and numbers only fits', async (t) => {
  const template = new Template();
  t.equal(template.fits(encode(envelope('1', 'x'))), false, 'nothing was learnt');
  template.learn(encode(envelope('1', 'x')));
  for (const content of [
    '',
    'y'.repeat(1000),
    'a "quoted" \\ \n\t word',
    'ünïcödé 😀',
    '\u2028',
    '\u0001',
    '{"a":1}',
    '$^.*',
  ]) {
    t.equal(template.fits(encode(envelope('2', content))), true, encodeURI(content));
  }
  t.equal(template.fits(encode(envelope('1', 'x').replace('12', '-1.5e+20'))), true);
});

t.test('what is not JSON, or of another structure, does not', async (t) => {
  const template = new Template();
  const text = envelope('1', 'x');
  template.learn(encode(text));
  const others = [
    '',
    `${text} `,
    ` ${text}`,
    `${text}\n`,
    text.slice(0, -1),
    text.replace('"x"', '"\n"'),
    text.replace('"x"', '"\\x"'),
    text.replace('"x"', '"\\u12"'),
    text.replace('"x"', '"x'),
    text.replace('"x"', 'null'),
    text.replace('"x"', '1'),
    text.replace('null', '{}'),
    text.replace('12', '012'),
    text.replace('12', '1.'),
    text.replace('12', '"12"'),
    text.replace('content', 'c0ntent'),
    envelope('1', 'x', { more: 1 }),
    envelope('1', 'x'.repeat(10_000)),
  ];
  for (const other of others) t.equal(template.fits(encode(other)), false, other.slice(0, 200));
});

const SEED = Number(process.env.TEMPLATE_SEED ?? Date.now() % 2 ** 31);

t.test(`what fits is JSON of the structure that was learnt (seed ${SEED})`, async (t) => {
  const next = random(SEED);
  const pick = (text: string): string => text[Math.floor(next() * text.length)] as string;
  const pieces = '{}[]:,"\\ntu0019-+.eE \u0001\u007fé$^|()*?';
  let fitting = 0;
  for (let round = 0; round < 40; round++) {
    const text = envelope(
      pick('0129') + pick('$^.*\\"é\n'),
      pick(pieces) + pick(pieces),
      round % 2 ? { [pick(pieces)]: [1, 'x', true] } : {},
    );
    const template = new Template();
    template.learn(encode(text));
    const structure = JSON.stringify(bare(JSON.parse(text)));
    for (let i = 0; i < 500; i++) {
      const at = Math.floor(next() * text.length);
      const mutated = text.slice(0, at) + (next() < 0.7 ? pick(pieces) : '') + text.slice(at + Math.floor(next() * 3));
      if (!template.fits(encode(mutated))) continue;
      fitting += 1;
      try {
        if (JSON.stringify(bare(JSON.parse(mutated))) !== structure) t.fail(`another structure: ${mutated}`);
      } catch {
        t.fail(`no JSON: ${mutated}`);
      }
    }
  }
  t.ok(fitting > 1000, `${fitting} of 20,000 fitted`);
});

t.test('an endpoint whose answers never are alike is seldom learnt from', async (t) => {
  const template = new Template();
  for (let i = 0; i < 1000; i++) template.learn(encode(envelope('1', 'x', { [`f${i}`]: 1 })));
  t.equal(template.fits(encode(envelope('1', 'x', { f511: 1 }))), true);
  t.equal(template.fits(encode(envelope('1', 'x', { f999: 1 }))), false);
});

t.test('answers that are like those before are read as they are, and others as well', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const client = new ArcClient({ endpoint: agent.endpoint });
  t.teardown(() => client.close());
  const message = { role: 'user', parts: [] };
  const { result } = await client.chat.start({ targetAgent: 'a', initialMessage: message });
  const ask = async () => {
    const answer = await client.chat.message({ targetAgent: 'a', chatId: result.chat.chatId, message });
    return answer.result.chat.message?.parts[0]?.content;
  };
  agent.script('chat.message', 'one', 'two "and" more\n', 'three');
  t.strictSame([await ask(), await ask(), await ask()], ['one', 'two "and" more\n', 'three']);
  agent.script(
    'chat.message',
    { error: { code: -43_001, message: 'Chat not found' } },
    { body: '{"arc":"1.0"', status: 200 },
  );
  await t.rejects(ask(), { code: -43_001 });
  await t.rejects(ask(), { code: -41_003 });
  agent.script('chat.message', 'four');
  t.equal(await ask(), 'four');
});
