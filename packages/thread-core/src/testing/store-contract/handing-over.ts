import { strict as assert } from 'node:assert';
import { fenced, isFencedOff, LONG, type Part, SHORT, state } from './world.js';

const FULL = state({
  ...{ seq: 12, got: 5, pending: ['q1', 7], threads: { t1: { agentId: 'one', chatId: 'c1', unsettled: true } } },
  ...{ waiting: ['{"agent_id":"one","id":7}'], journal: { firstSeq: 11, frames: ['{"seq":11}', '{"seq":12}'] } },
});

export const handingOver: Part = (test) => {
  test('a parked session is claimed exactly as it was parked', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1', { threads: { old: { agentId: 'old', chatId: 'ended' } } });
    await a.store.append(owned, { firstSeq: 1, frames: ['{"seq":1}'] });
    await a.store.park(owned, FULL);
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    const result = await b.claim('s1');
    assert.ok(result.state === 'claimed');
    assert.equal(result.owned.epoch, 2);
    const { seq, got, pending, threads, waiting, exact } = result.session;
    assert.deepEqual({ seq, got, pending, threads, waiting, journal: FULL.journal }, FULL);
    assert.equal(exact, true);
    assert.deepEqual(await b.store.read('s1', 10), FULL.journal);
    assert.deepEqual(await b.store.read('s1', 0), FULL.journal);
  });

  test('a session that is parked has no owner, and parking it again changes nothing', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    await a.store.park(owned, FULL);
    await a.store.park(owned, FULL);
    await isFencedOff(a.store, owned, b.name);
    assert.equal((await b.claim('s1')).state, 'claimed');
    await fenced(a.store.park(owned, FULL));
  });

  test('what a node owned before it parked a session is fenced off, even when it has claimed it back', async ({
    a,
    b,
  }) => {
    await a.join();
    await b.join();
    const before = await a.open('s1');
    await a.store.park(before, FULL);
    const result = await a.claim('s1');
    assert.ok(result.state === 'claimed' && result.owned.epoch === 2);
    await isFencedOff(a.store, before, b.name);
    await a.store.thread(result.owned, 't2', { agentId: 'two', chatId: 'c2' });
  });

  test('a parked session outlives the node that parked it', async ({ a, b }) => {
    await a.join();
    const owned = await a.open('s1');
    await a.store.park(owned, FULL);
    await a.store.leave(a.node());
    await b.join();
    assert.equal((await b.claim('s1')).state, 'claimed');
  });

  test('a session that was claimed from a parked one is not exact once its new owner has died', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await a.store.park(await a.open('s1'), FULL);
    await b.claim('s1');
    await b.store.leave(b.node());
    const result = await c.claim('s1');
    assert.ok(result.state === 'claimed' && !result.session.exact);
    assert.equal(result.owned.epoch, 3);
  });

  test('a parked session whose grace is over is expired, and reaped', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.store.park(await a.open('s1', { grace: 0 }), FULL);
    assert.deepEqual(await b.claim('s1'), { state: 'expired' });
    const [reaped] = await b.reap();
    assert.deepEqual(reaped?.session.threads, FULL.threads);
  });

  test('a parked session within its grace is not reaped', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.store.park(await a.open('s1'), FULL);
    assert.deepEqual(await b.reap(), []);
  });

  test('a handover gives another node the session, with the next epoch and as it was', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    const owned = await a.open('s1');
    assert.equal(await a.store.handover(owned, b.name, FULL), true);
    await isFencedOff(a.store, owned, c.name);
    const others = await c.claim('s1');
    assert.ok(others.state === 'busy' && others.owner === b.name);
    const result = await b.claim('s1');
    assert.ok(result.state === 'claimed');
    assert.deepEqual(result.owned, { sid: 's1', epoch: 2, node: b.name, incarnation: b.incarnation });
    assert.equal(result.session.exact, true);
    assert.deepEqual(result.session.threads, FULL.threads);
    assert.deepEqual(await b.store.read('s1', 0), FULL.journal);
    assert.equal((await a.store.renew(a.node())).sessions, 0);
    assert.equal((await b.store.renew(b.node())).sessions, 1);
  });

  test('a session that a node was given and never claimed is exact for the one after it', async ({ a, b, c }) => {
    for (const node of [a, b, c]) await node.join();
    const owned = await a.open('s1');
    // A node is given what it has asked for.
    assert.equal((await b.claim('s1')).state, 'busy');
    await a.store.handover(owned, b.name, FULL);
    await b.store.leave(b.node());
    const result = await c.claim('s1');
    assert.ok(result.state === 'claimed' && result.session.exact);
    assert.equal(result.owned.epoch, 3);
    assert.deepEqual(await c.store.read('s1', 0), FULL.journal);
    const again = await c.claim('s1');
    assert.ok(again.state === 'claimed' && again.session.exact, 'a claim may be repeated');
    await c.store.leave(c.node());
    const last = await a.claim('s1');
    assert.ok(last.state === 'claimed' && !last.session.exact);
  });

  test('a session that a node was given and has claimed is not exact for the one after it', async ({ a, b, c }) => {
    for (const node of [a, b, c]) await node.join();
    const owned = await a.open('s1');
    await b.claim('s1');
    await a.store.handover(owned, b.name, FULL);
    await b.claim('s1');
    await b.store.leave(b.node());
    const result = await c.claim('s1');
    assert.ok(result.state === 'claimed' && !result.session.exact);
  });

  test('a session that a node was given and registers again is not exact for the one after it', async ({ a, b, c }) => {
    for (const node of [a, b, c]) await node.join();
    const owned = await a.open('s1');
    await b.claim('s1');
    await a.store.handover(owned, b.name, FULL);
    await b.open('s1', { epoch: 2 });
    await b.store.leave(b.node());
    const result = await c.claim('s1');
    assert.ok(result.state === 'claimed' && !result.session.exact);
  });

  test('a handover that is repeated changes nothing', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    await a.store.handover(owned, b.name, FULL);
    const result = await b.claim('s1');
    assert.ok(result.state === 'claimed');
    await b.store.thread(result.owned, 't2', { agentId: 'two', chatId: 'c2' });
    assert.equal(await a.store.handover(owned, b.name, FULL), true);
    const again = await b.claim('s1');
    assert.ok(again.state === 'claimed' && again.owned.epoch === 2);
    assert.deepEqual(Object.keys(again.session.threads).sort(), ['t1', 't2']);
  });

  test('there is no handover to a node that is dead or unknown: the owner keeps the session', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await b.store.leave(b.node());
    const owned = await a.open('s1', { threads: { t2: { agentId: 'two', chatId: 'c2' } } });
    assert.equal(await a.store.handover(owned, b.name, FULL), false);
    assert.equal(await a.store.handover(owned, 'nobody', FULL), false);
    await a.store.thread(owned, 't3', { agentId: 'three', chatId: 'c3' });
    await a.store.leave(a.node());
    await c.join();
    const result = await c.claim('s1');
    assert.ok(result.state === 'claimed');
    assert.deepEqual(Object.keys(result.session.threads).sort(), ['t2', 't3']);
  });

  test('the journal continues from what was handed over', async ({ a, b }) => {
    await a.join(SHORT);
    await b.join();
    const owned = await a.open('s1');
    await a.store.handover(owned, b.name, FULL);
    const result = await b.claim('s1');
    assert.ok(result.state === 'claimed');
    await b.store.append(result.owned, { firstSeq: 13, frames: ['{"seq":13}'] });
    assert.deepEqual(await b.store.read('s1', 11), { firstSeq: 12, frames: ['{"seq":12}', '{"seq":13}'] });
    await b.store.trim('s1', LONG);
    assert.equal(await b.store.read('s1', 0), undefined);
  });
};
