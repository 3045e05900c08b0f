import tap from 'tap';
import { chatIdOf, partsOf, text, textOf } from '../src/index.js';

const part = (content: string, type = 'TextPart') => ({ type, content });
const message = (...parts: unknown[]) => ({ role: 'agent', parts });

tap.test("text makes a user's message with one text part", async (t) => {
  t.strictSame(text('Hello'), { role: 'user', parts: [{ type: 'text', content: 'Hello' }] });
  t.equal(textOf(text('Hello')), 'Hello');
});

tap.test('textOf reads the text of an answer wherever agents put it', async (t) => {
  const said = message(part('It is '), part('here.', 'text'));
  const chat = { chatId: 'c-1', status: 'ACTIVE', message: said };
  for (const [shape, answer] of Object.entries({
    envelope: {
      arc: '1.0',
      id: '1',
      responseAgent: 'a',
      targetAgent: 'b',
      result: { type: 'chat', chat },
      error: null,
    },
    'envelope without a chat': { arc: '1.0', id: '1', result: { message: said } },
    'event data': { chatId: 'c-1', message: said },
    'event data with a chat': { type: 'chat', chat },
    chat,
    message: said,
    'bare string': 'It is here.',
  })) {
    t.equal(textOf(answer), 'It is here.', shape);
  }
});

tap.test('textOf is empty if there is no text', async (t) => {
  const nothing = [
    undefined,
    null,
    7,
    true,
    '',
    [],
    {},
    { result: null },
    { message: 'x' },
    { chat: null },
    { parts: {} },
  ];
  for (const answer of nothing) t.equal(textOf(answer), '');
  t.equal(textOf(message(part('x', 'data'), { type: 'text', content: 7 }, 'x', null)), '');
});

tap.test('partsOf keeps parts of every type, and wraps what is no part', async (t) => {
  const image = { type: 'image', content: 'aGk=', mimeType: 'image/png' };
  t.strictSame(partsOf(message(image, 'x')), [image, { type: 'data', content: 'x' }]);
  t.strictSame(partsOf('x'), [{ type: 'text', content: 'x' }]);
  t.equal(partsOf({ chatId: 'c-1' }), undefined);
});

tap.test('chatIdOf reads the chat id in every shape', async (t) => {
  for (const answer of [
    { result: { type: 'chat', chat: { chatId: 'c-1' } } },
    { result: { chatId: 'c-1' } },
    { chat: { chatId: 'c-1' } },
    { chatId: 'c-1' },
    { chatId: 'c-1', chat: {} },
    { chatId: 'c-1', result: { type: 'chat' } },
    { chatId: null, chat: { chatId: 'c-1' } },
  ]) {
    t.equal(chatIdOf(answer), 'c-1', JSON.stringify(answer));
  }
  for (const answer of ['c-1', {}, { chatId: '' }, { chatId: 7 }, { chat: 'c-1' }, ['c-1'], null]) {
    t.equal(chatIdOf(answer), undefined, JSON.stringify(answer));
  }
});

tap.test('of several chat ids the outermost counts', async (t) => {
  const chat = { chatId: 'inner' };
  t.equal(chatIdOf({ chatId: 'outer', chat }), 'outer');
  t.equal(chatIdOf({ chatId: 'outer', result: { chatId: 'middle', chat } }), 'outer');
  t.equal(chatIdOf({ result: { chatId: 'middle', chat } }), 'middle');
  t.equal(chatIdOf({ chat: { chatId: 'outer' }, result: { chatId: 'inner' } }), 'outer');
  // The fast path for events relies on it: it only compares strings with the id that was found.
  t.equal(chatIdOf({ chatId: '', chat }), undefined);
});
