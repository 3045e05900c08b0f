import { strict as assert } from 'node:assert';
import { isFencedOff, LONG, type Part, SHORT } from './world.js';

export const claiming: Part = (test) => {
  test('a session of a living node is busy, and the answer names the node', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    const result = await b.claim('s1');
    assert.equal(result.state, 'busy');
    assert.ok(result.state === 'busy' && result.owner === a.name);
    assert.ok(result.retryAfter > 0 && result.retryAfter <= LONG);
  });

  test('a session of a dead node is claimed with the next epoch, and its old owner is fenced off', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.open('s1');
    await b.join();
    const result = await b.claimLater('s1');
    assert.deepEqual(result.owned, { sid: 's1', epoch: 2, node: b.name, incarnation: b.incarnation });
    assert.equal(result.session.exact, false);
    await a.store.renew(a.node());
    await isFencedOff(a.store, owned, b.name);
    await b.store.thread(result.owned, 't1', { agentId: 'one', chatId: 'c1' });
  });

  test('an old owner that is alive again cannot claim the session back from a living node', async ({ a, b }) => {
    await a.join(SHORT);
    await a.open('s1');
    await b.join();
    await b.claimLater('s1');
    await a.store.renew(a.node());
    const result = await a.claim('s1');
    assert.ok(result.state === 'busy' && result.owner === b.name);
  });

  test('claiming again gives the same epoch', async ({ a, b }) => {
    await a.join(SHORT);
    await a.open('s1');
    await b.join();
    const first = await b.claimLater('s1');
    assert.deepEqual(await b.claim('s1'), first);
    assert.equal((await b.store.renew(b.node())).sessions, 1);
  });

  test('of two nodes that claim a session at once one gets it', async ({ a, b, c }) => {
    await a.join();
    await a.open('s1');
    await b.join();
    await c.join();
    await a.store.leave(a.node());
    const states = (await Promise.all([b.claim('s1'), c.claim('s1')])).map(({ state }) => state);
    assert.deepEqual(states.sort(), ['busy', 'claimed']);
  });

  test('a wrong secret, an unknown session and one without a secret are all unknown', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    await a.store.open(a.node(), { sid: 'plain', grace: LONG, identityKey: 'ann' });
    await a.store.leave(a.node());
    assert.deepEqual(await b.claim('s1', 'a guess'), { state: 'unknown' });
    assert.deepEqual(await b.claim('s1', ''), { state: 'unknown' });
    assert.deepEqual(await b.claim('s2'), { state: 'unknown' });
    assert.deepEqual(await b.store.claim(b.node(), 'plain', '', 'ann'), { state: 'unknown' });
  });

  test('another identity is refused, and the owner is not disturbed', async ({ a, b }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    assert.deepEqual(await b.claim('s1', undefined, 'bob'), { state: 'forbidden' });
    assert.deepEqual(await b.store.claim(b.node(), 's1', '0', undefined), { state: 'unknown' });
    await a.store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' });
    await a.store.leave(a.node());
    assert.deepEqual(await b.claim('s1', undefined, 'bob'), { state: 'forbidden' });
    assert.equal((await b.claim('s1')).state, 'claimed');
  });

  test('a session whose grace ended after its owner died is expired', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1', { grace: 0 });
    await a.store.leave(a.node());
    assert.deepEqual(await b.claim('s1'), { state: 'expired' });
  });
};
