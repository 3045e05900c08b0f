import t from 'tap';
import { MAX_KEPT, PieceBuffer } from '../src/piece-buffer.js';
import { failure } from './world.js';

t.test('a slow loop reads a quarter of a million pieces that wait for it, each once and in order', async (t) => {
  const COUNT = 250_000;
  let changes = 0;
  const buffer = new PieceBuffer(() => {
    changes += 1;
  });
  const loop = buffer[Symbol.asyncIterator]();
  const first = loop.next();
  for (let n = 0; n < COUNT; n++) {
    if (!buffer.push({ type: 'content', data: n, text: '' }, 60)) t.fail('it is given up');
  }
  t.equal(buffer.full, true);
  buffer.end();
  let read = (await first).value?.data === 0 ? 1 : 0;
  for await (const { data } of loop) if (data === read) read += 1;
  t.equal(read, COUNT);
  t.ok(changes > COUNT);
  t.match(await failure(buffer[Symbol.asyncIterator]().next()), { code: 'UNREAD' });
});

t.test('the last pieces are kept for a loop that begins later', async (t) => {
  const buffer = new PieceBuffer(() => {});
  for (const data of ['a', 'b']) buffer.push({ type: 'content', data, text: data }, MAX_KEPT / 2);
  buffer.end();
  for (const _ of [1, 2]) {
    let text = '';
    for await (const piece of buffer) text += piece.text;
    t.equal(text, 'ab');
  }
});
