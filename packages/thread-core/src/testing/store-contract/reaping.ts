import { strict as assert } from 'node:assert';
import { fenced, isFencedOff, LONG, type Part, SHORT, until } from './world.js';

export const reaping: Part = (test) => {
  test('sessions of a dead node are reaped with their threads, and their old owner is fenced off', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.open('s1', { grace: 0 });
    await a.store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' });
    await b.join();
    const [reaped, ...others] = await b.reapLater();
    assert.deepEqual(others, []);
    assert.deepEqual(reaped?.owned, { sid: 's1', epoch: 2, node: b.name, incarnation: b.incarnation });
    assert.deepEqual(reaped.session.threads, { t1: { agentId: 'one', chatId: 'c1' } });
    assert.deepEqual(reaped.session.identity, { name: 'Ann' });
    await a.store.renew(a.node());
    await isFencedOff(a.store, owned, b.name);
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    assert.equal((await b.store.renew(b.node())).sessions, 0);
  });

  test('nothing is reaped of a living node, nor within the grace after a death', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await a.open('s1', { grace: 0 });
    await b.open('s2', { grace: LONG });
    await b.store.leave(b.node());
    assert.deepEqual(await c.reap(), []);
    assert.equal((await c.claim('s2')).state, 'claimed');
  });

  test('a node whose lease is over reaps nothing: the others may be alive, and may not have reached the store either', async ({
    a,
    b,
    c,
  }) => {
    await a.join(SHORT);
    await a.open('s1', { grace: 0 });
    await b.join(SHORT);
    await c.join();
    await until(
      () => c.store.nodes(),
      (names) => names.length === 1,
    );
    assert.deepEqual(await b.reap(), []);
    assert.equal((await c.reap()).length, 1);
  });

  test('each session is reaped by one node', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    for (let number = 0; number < 20; number += 1) await a.open(`s${number}`, { grace: 0 });
    await a.store.leave(a.node());
    const reaped = (await Promise.all([b.reap({ limit: 15 }), c.reap({ limit: 15 })])).flat();
    assert.equal(reaped.length, 20);
    assert.equal(new Set(reaped.map(({ owned }) => owned.sid)).size, 20);
    assert.deepEqual(await b.reap(), []);
  });

  test('no more sessions are reaped at once than asked for', async ({ a, b }) => {
    await a.join();
    await b.join();
    for (let number = 0; number < 5; number += 1) await a.open(`s${number}`, { grace: 0 });
    await a.store.leave(a.node());
    assert.equal((await b.reap({ limit: 2 })).length, 2);
    assert.equal((await b.reap({ limit: 2 })).length, 2);
    assert.equal((await b.reap({ limit: 2 })).length, 1);
  });

  test('a session that is being reaped cannot be claimed', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await a.open('s1', { grace: 0 });
    await a.store.leave(a.node());
    await b.reap();
    assert.deepEqual(await c.claim('s1'), { state: 'expired' });
  });

  test('what a reaper does not finish in its time another one takes over', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await a.open('s1', { grace: 0, threads: { t1: { agentId: 'one', chatId: 'c1' } } });
    await a.store.leave(a.node());
    const [first] = await b.reap({ takeoverAfter: SHORT });
    assert.ok(first !== undefined);
    const [second] = await c.reapLater();
    assert.equal(second?.owned.epoch, 3);
    assert.deepEqual(second?.session.threads, { t1: { agentId: 'one', chatId: 'c1' } });
    await fenced(b.store.close(first.owned));
    await c.store.close(second?.owned as typeof first.owned);
    assert.deepEqual(await b.claim('s1'), { state: 'unknown' });
  });

  test('a session that is closed is gone, with its journal, and closing it again is no error', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    await a.store.append(owned, { firstSeq: 1, frames: ['1'] });
    await a.store.close(owned);
    await a.store.close(owned);
    assert.deepEqual(await b.claim('s1'), { state: 'unknown' });
    assert.equal(await b.store.read('s1', 0), undefined);
    assert.deepEqual(await b.store.sessionsOf('ann'), []);
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    await fenced(a.store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' }));
  });

  test('a session that its owner expires cannot be claimed, and its owner ends it', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    await a.store.expire(owned, LONG);
    await a.store.expire(owned, LONG);
    assert.deepEqual(await b.claim('s1'), { state: 'expired' });
    assert.deepEqual(await a.claim('s1'), { state: 'expired' });
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    assert.deepEqual(await b.reap(), []);
    await a.store.thread(owned, 't1', null);
    await a.store.close(owned);
    assert.deepEqual(await b.claim('s1'), { state: 'unknown' });
  });

  test('what an owner has expired and does not close in its time is reaped', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1', { threads: { t1: { agentId: 'one', chatId: 'c1' } } });
    await a.store.expire(owned, SHORT);
    const [reaped] = await b.reapLater();
    assert.deepEqual(reaped?.session.threads, { t1: { agentId: 'one', chatId: 'c1' } });
    await fenced(a.store.close(owned));
  });

  test('one session can be reaped within its grace, but not from another living node', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await a.open('s1');
    await b.open('s2');
    await a.store.leave(a.node());
    assert.equal(await c.store.reapOne(c.node(), 's2', LONG), undefined);
    assert.equal(await c.store.reapOne(c.node(), 'none', LONG), undefined);
    assert.equal((await c.store.reapOne(c.node(), 's1', LONG))?.owned.epoch, 2);
    assert.equal(await b.store.reapOne(b.node(), 's1', LONG), undefined);
    assert.equal((await b.store.reapOne(b.node(), 's2', LONG))?.owned.epoch, 2);
  });
};
