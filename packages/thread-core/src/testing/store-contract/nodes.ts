import { strict as assert } from 'node:assert';
import { fenced, LONG, type Part, SHORT, until } from './world.js';

export const nodes: Part = (test) => {
  test('a renewal counts the sessions of the node, and sessionsOn names them', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    await a.open('s2');
    await b.open('s3');
    assert.equal((await a.store.renew(a.node())).sessions, 2);
    assert.deepEqual((await a.store.sessionsOn(a.node())).sort(), ['s1', 's2']);
    assert.deepEqual(await b.store.sessionsOn(b.node()), ['s3']);
  });

  test('a renewal within the lease has not lapsed, one after it has', async ({ a }) => {
    await a.join();
    const { fenced: isFenced, lapsed } = await a.store.renew(a.node());
    assert.deepEqual([isFenced, lapsed], [false, false]);
    await until(
      () => a.store.renew(a.node(1)),
      (renewal) => renewal.lapsed,
    );
  });

  test('a renewal keeps the sessions of a node out of the hands of others', async ({ a, b }) => {
    await a.join(SHORT);
    await a.open('s1');
    await a.store.renew(a.node(LONG));
    await b.join();
    const result = await b.claim('s1');
    assert.equal(result.state, 'busy');
  });

  test('the boot stays the same for all nodes as long as no data is lost', async ({ a, b }) => {
    const { boot } = await a.store.join(a.node());
    assert.equal((await b.store.join(b.node())).boot, boot);
    assert.equal((await a.store.renew(a.node())).boot, boot);
  });

  test('a new process takes the name: the old one is fenced, and its sessions can be claimed at once', async ({
    a,
    b,
  }) => {
    await a.join();
    await b.join();
    const owned = await a.open('s1');
    const again = await a.restarted().join();
    assert.equal((await a.store.renew(a.node())).fenced, true);
    await fenced(a.store.thread(owned, 't1', { agentId: 'one', chatId: 'c1' }));
    await fenced(a.store.append(owned, { firstSeq: 1, frames: ['{}'] }));
    await fenced(a.store.close(owned));
    await fenced(a.open('s2'));
    await fenced(a.claim('s1'));
    await fenced(a.reap());
    assert.equal((await again.store.renew(again.node())).sessions, 0);
    assert.equal((await b.claim('s1')).state, 'claimed');
  });

  test('what an old process of a name does not renew does not end the lease of the new one', async ({ a, b }) => {
    await a.join();
    const again = await a.restarted().join();
    await again.open('s1');
    await a.store.renew(a.node());
    await a.store.leave(a.node());
    await b.join();
    assert.equal((await b.claim('s1')).state, 'busy');
    assert.equal((await again.store.renew(again.node())).sessions, 1);
  });

  test('sessions of a node that has left can be claimed at once', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    await a.store.leave(a.node());
    await a.store.leave(a.node());
    assert.equal((await b.claim('s1')).state, 'claimed');
  });

  test('joining again with the same incarnation keeps sessions and inbox', async ({ a, b }) => {
    await a.join();
    await a.open('s1');
    assert.equal(await b.store.post(a.name, 'hello'), true);
    const renewal = await a.store.join(a.node());
    assert.equal(renewal.sessions, 1);
    const got: unknown[] = [];
    const stop = await a.store.onPost(a.node(), (message) => got.push(message));
    await until(
      async () => got.length,
      (count) => count === 1,
    );
    await stop();
  });

  test('nodes names the living nodes, each once', async ({ a, b, c }) => {
    await a.join();
    await b.join();
    await c.join();
    await b.store.leave(b.node());
    await c.restarted().join();
    const names = await until(
      () => a.store.nodes(),
      // The node with which each test begins has a lease of a millisecond.
      (found) => !found.includes('first'),
    );
    assert.deepEqual(names.sort(), [a.name, c.name]);
  });

  test('sessionsOf finds the sessions of one identity, with the node of each that has a living one', async ({
    a,
    b,
    c,
  }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    await b.open('s2');
    await b.open('s3', { identityKey: 'bob' });
    await c.join();
    await c.open('s4');
    await c.store.leave(c.node());
    const places = (await a.store.sessionsOf('ann')).sort((one, other) => one.sid.localeCompare(other.sid));
    assert.deepEqual(places, [
      { sid: 's1', owner: a.name },
      { sid: 's2', owner: b.name },
      { sid: 's4', owner: undefined },
    ]);
    assert.deepEqual(await a.store.sessionsOf('nobody'), []);
  });
};
