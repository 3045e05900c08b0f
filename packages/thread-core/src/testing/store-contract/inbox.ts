import { strict as assert } from 'node:assert';
import type { JsonValue } from '../../relay/store/session-store.js';
import { fenced, type Part, until } from './world.js';

async function received(messages: readonly unknown[], count: number): Promise<void> {
  await until(
    async () => messages.length,
    (length) => length >= count,
  );
}

export const inbox: Part = (test) => {
  test('a node gets the messages of others in the order in which each sent them', async ({ a, b, c }) => {
    await a.join();
    const messages: JsonValue[] = [];
    const stop = await a.store.onPost(a.node(), (message) => messages.push(message));
    for (let number = 0; number < 50; number += 1) {
      assert.equal(await b.store.post(a.name, { from: 'b', number }), true);
      assert.equal(await c.store.post(a.name, { from: 'c', number }), true);
    }
    await received(messages, 100);
    for (const from of ['b', 'c']) {
      const numbers = messages.flatMap((message) => {
        const one = message as { from: string; number: number };
        return one.from === from ? [one.number] : [];
      });
      assert.deepEqual(
        numbers,
        Array.from({ length: 50 }, (_, number) => number),
      );
    }
    await stop();
  });

  test('messages that come before a node listens are kept for it', async ({ a, b }) => {
    await a.join();
    await b.store.post(a.name, ['first', 1, null]);
    await b.store.post(a.name, 'second ✓');
    const messages: JsonValue[] = [];
    const stop = await a.store.onPost(a.node(), (message) => messages.push(message));
    await received(messages, 2);
    assert.deepEqual(messages, [['first', 1, null], 'second ✓']);
    await stop();
  });

  test('a listener that throws still gets the next message', async ({ a, b }) => {
    await a.join();
    const messages: JsonValue[] = [];
    const stop = await a.store.onPost(a.node(), (message) => {
      messages.push(message);
      throw new Error('a bug of the listener');
    });
    await b.store.post(a.name, 1);
    await b.store.post(a.name, 2);
    await received(messages, 2);
    await stop();
  });

  test('nothing is posted to a node that is unknown or dead', async ({ a, b }) => {
    assert.equal(await b.store.post('nobody', 1), false);
    await a.join();
    await a.store.leave(a.node());
    assert.equal(await b.store.post(a.name, 1), false);
  });

  test('a new process under a name does not get what was meant for the old one', async ({ a, b }) => {
    await a.join();
    await b.store.post(a.name, 'to the old one');
    const again = await a.restarted().join();
    await b.store.post(again.name, 'to the new one');
    const messages: JsonValue[] = [];
    const stop = await again.store.onPost(again.node(), (message) => messages.push(message));
    await received(messages, 1);
    assert.deepEqual(messages, ['to the new one']);
    await fenced(a.store.onPost(a.node(), () => undefined));
    await stop();
  });

  test('an inbox is bounded: when it is full, posting fails and nothing is dropped', async ({ a, b }) => {
    await a.join();
    const posts = 10_001;
    let failed = 0;
    for (let sent = 0; sent < posts; sent += 500) {
      const batch = Array.from({ length: Math.min(500, posts - sent) }, (_, at) => b.store.post(a.name, sent + at));
      for (const { status } of await Promise.allSettled(batch)) if (status === 'rejected') failed += 1;
    }
    assert.equal(failed, 1);
    await assert.rejects(b.store.post(a.name, 'more'), { name: 'StoreError', code: 'full' });
  });
};
