import { strict as assert } from 'node:assert';
import { type Part, SHORT } from './world.js';

export const journal: Part = (test) => {
  test('frames are read back as the same text, in order, after any number', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    const frames = [
      '{"seq":1,"data":"ü ✓ 😀"}',
      '{"seq":2,\n"data":"\\u0000"}',
      `{"seq":3,"data":"${'x'.repeat(100_000)}"}`,
    ];
    await a.store.append(owned, { firstSeq: 1, frames: frames.slice(0, 2) });
    await a.store.append(owned, { firstSeq: 3, frames: frames.slice(2) });
    assert.deepEqual(await b.store.read('s1', 0), { firstSeq: 1, frames });
    assert.deepEqual(await b.store.read('s1', 1), { firstSeq: 2, frames: frames.slice(1) });
    assert.deepEqual(await b.store.read('s1', 2), { firstSeq: 3, frames: frames.slice(2) });
    assert.equal(await b.store.read('s1', 3), undefined);
    assert.equal(await b.store.read('none', 0), undefined);
  });

  test('reading is bounded by a number of entries', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    for (const seq of [1, 2, 3]) await a.store.append(owned, { firstSeq: seq, frames: [`{"seq":${seq}}`] });
    assert.deepEqual(await b.store.read('s1', 0, 2), { firstSeq: 1, frames: ['{"seq":1}', '{"seq":2}'] });
    assert.deepEqual(await b.store.read('s1', 2, 2), { firstSeq: 3, frames: ['{"seq":3}'] });
  });

  test('frames that are appended again, or that overlap, are stored once', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    await a.store.append(owned, { firstSeq: 1, frames: ['1', '2'] });
    await a.store.append(owned, { firstSeq: 1, frames: ['1', '2'] });
    await a.store.append(owned, { firstSeq: 2, frames: ['2', '3'] });
    assert.deepEqual(await b.store.read('s1', 0), { firstSeq: 1, frames: ['1', '2', '3'] });
  });

  test('a journal has no holes', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    await a.store.append(owned, { firstSeq: 1, frames: ['1'] });
    await assert.rejects(a.store.append(owned, { firstSeq: 3, frames: ['3'] }), { name: 'StoreError', code: 'gap' });
    assert.deepEqual(await b.store.read('s1', 0), { firstSeq: 1, frames: ['1'] });
  });

  test('what was acknowledged is dropped, and does not come back', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    await a.store.append(owned, { firstSeq: 1, frames: ['1', '2'] });
    await a.store.append(owned, { firstSeq: 3, frames: ['3'] });
    // Entries leave as a whole: half of one stays.
    await b.store.trim('s1', 1);
    assert.deepEqual(await b.store.read('s1', 1), { firstSeq: 2, frames: ['2', '3'] });
    await b.store.trim('s1', 2);
    await b.store.trim('s1', 1);
    await a.store.append(owned, { firstSeq: 1, frames: ['1', '2'] });
    assert.deepEqual(await b.store.read('s1', 0), { firstSeq: 3, frames: ['3'] });
    await b.store.trim('none', 5);
  });

  test('an empty journal takes frames of any number: what lies between was delivered from memory', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    await a.store.append(owned, { firstSeq: 1, frames: ['1'] });
    await a.store.trim('s1', 40);
    await a.store.append(owned, { firstSeq: 41, frames: ['41'] });
    assert.deepEqual(await b.store.read('s1', 0), { firstSeq: 41, frames: ['41'] });
  });

  test('after the death of its owner the last number of a session is that of its journal', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.open('s1', { seq: 2 });
    await a.store.append(owned, { firstSeq: 3, frames: ['3', '4'] });
    await a.store.append(owned, { firstSeq: 3, frames: ['3'] });
    await b.join();
    assert.equal((await b.claimLater('s1')).session.seq, 4);
  });

  test('frames that are spilled again do not set back the last number of a session', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.open('s1', { seq: 9 });
    await a.store.append(owned, { firstSeq: 5, frames: ['5', '6'] });
    await b.join();
    assert.equal((await b.claimLater('s1')).session.seq, 9);
  });
};
