import { strict as assert } from 'node:assert';
import { fenced, LONG, type Part, SHORT, until } from './world.js';

export const losingData: Part = (test) => {
  test('after data was lost the boot is another one, and nothing is registered', async (world) => {
    const { a, b } = world;
    const { boot } = await a.store.join(a.node());
    await a.open('s1');
    await world.lose();
    const renewal = await a.store.renew(a.node());
    assert.notEqual(renewal.boot, boot);
    assert.equal(renewal.sessions, 0);
    assert.equal(renewal.lapsed, true);
    assert.equal((await b.store.join(b.node())).boot, renewal.boot);
  });

  test('after data was lost sessions are registered again under the epoch that they had', async (world) => {
    const { a, b } = world;
    const { boot } = await a.store.join(a.node(SHORT));
    await a.open('s1');
    await b.join();
    const claimed = await b.claimLater('s1');
    await world.lose();
    await b.store.renew(b.node(SHORT));
    const again = await b.open('s1', { epoch: 2, boot, seq: 9, got: 4 });
    assert.deepEqual(again, claimed.owned);
    assert.deepEqual(await b.open('s1', { epoch: 2, boot, seq: 9, got: 4 }), again);
    await a.join();
    const result = await a.claimLater('s1');
    assert.equal(result.owned.epoch, 3);
    assert.deepEqual([result.session.seq, result.session.got], [9, 4]);
  });

  test('for one lease after data was lost nothing is claimed, reaped or unknown', async (world) => {
    const { a, b } = world;
    await a.join();
    await b.join();
    await world.lose();
    await b.store.renew(b.node(LONG));
    assert.equal((await b.claim('s1')).state, 'busy');
    await a.open('s1', { epoch: 1, boot: 'the one before', grace: 0 });
    assert.equal((await b.claim('s1')).state, 'busy');
    assert.deepEqual(await b.reap(), []);
    assert.equal(await b.store.reapOne(b.node(), 's1', LONG), undefined);
  });

  test('when that lease is over, sessions that were not registered again are unknown', async (world) => {
    const { a, b } = world;
    await a.join();
    await a.open('s1');
    await world.lose();
    await b.store.renew(b.node(SHORT));
    await until(
      () => b.claim('s1'),
      ({ state }) => state === 'unknown',
    );
  });

  test('a session that another node has removed is not registered again', async ({ a, b }) => {
    const { boot } = await a.store.join(a.node(SHORT));
    await a.open('s1', { grace: 0 });
    await b.join();
    const [reaped] = await b.reapLater();
    assert.ok(reaped !== undefined);
    await fenced(a.open('s1', { epoch: 1, boot }));
    await b.store.close(reaped.owned);
    await fenced(a.open('s1', { epoch: 1, boot }));
  });

  test('a higher epoch replaces a lower one, which a failover may bring back; never the other way', async ({
    a,
    b,
  }) => {
    const { boot } = await a.store.join(a.node());
    await b.join();
    const old = await a.open('s1', { threads: { t1: { agentId: 'one', chatId: 'c1' } } });
    await a.store.append(old, { firstSeq: 1, frames: ['1'] });
    const owned = await b.open('s1', { epoch: 2, boot, threads: { t2: { agentId: 'two', chatId: 'c2' } } });
    assert.equal(owned.epoch, 2);
    await fenced(a.store.thread(old, 't3', { agentId: 'three', chatId: 'c3' }));
    await fenced(a.open('s1', { epoch: 1, boot }));
    await fenced(a.open('s1', { epoch: 2, boot }));
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    assert.equal((await b.store.renew(b.node())).sessions, 1);
    assert.equal(await b.store.read('s1', 0), undefined);
    await b.store.leave(b.node());
    const result = await a.claim('s1');
    assert.ok(result.state === 'claimed');
    assert.deepEqual(Object.keys(result.session.threads), ['t2']);
  });
};
