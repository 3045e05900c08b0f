import { strict as assert } from 'node:assert';
import { fenced, LONG, type Part, SHORT } from './world.js';

export const registering: Part = (test) => {
  test('a new session has epoch 1 and belongs to the node that opened it', async ({ a }) => {
    await a.join();
    const owned = await a.open('s1');
    assert.deepEqual(owned, { sid: 's1', epoch: 1, node: a.name, incarnation: a.incarnation });
  });

  test('opening a session again changes nothing and keeps the threads stored since', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.open('s1', { threads: { t1: { agentId: 'one', chatId: 'c1' } } });
    await a.store.thread(owned, 't2', { agentId: 'two', chatId: 'c2' });
    assert.deepEqual(await a.open('s1', { threads: { t1: { agentId: 'one', chatId: 'c1' } } }), owned);
    await b.join();
    assert.deepEqual(Object.keys((await b.claimLater('s1')).session.threads).sort(), ['t1', 't2']);
  });

  test('a session without a secret gets one when it is opened again', async ({ a, b }) => {
    await a.join(SHORT);
    const owned = await a.store.open(a.node(), { sid: 's1', grace: 0 });
    const threads = { t1: { agentId: 'one', chatId: 'c1' } };
    assert.deepEqual(await a.open('s1', { epoch: owned.epoch, threads, grace: LONG - 1 }), owned);
    await a.store.open(a.node(), { sid: 's1', grace: 0 });
    await b.join();
    const { session } = await b.claimLater('s1');
    assert.deepEqual([session.identityKey, session.grace, session.threads], ['ann', LONG - 1, threads]);
    assert.deepEqual(await b.store.sessionsOf('ann'), [{ sid: 's1', owner: b.name }]);
  });

  test('a session of another node cannot be opened', async ({ a, b }) => {
    await a.join();
    await b.join();
    await a.open('s1');
    await fenced(b.open('s1'));
  });

  test('whoever takes a session over gets its identity, its counts and its threads as they were stored', async ({
    a,
    b,
  }) => {
    await a.join(SHORT);
    const identity = { name: 'Änn "✓"', roles: ['admin', null], nested: { n: 1.5 } };
    const owned = await a.open('s1', { identity, grace: LONG - 1, seq: 7, got: 3, pending: ['q1', 2] });
    const entry = { agentId: 'one', contextId: 'ctx:1', chatId: 'c1', unsettled: true };
    await a.store.thread(owned, ':5:ctx:1:one', { ...entry, chatId: 'an earlier one' });
    await a.store.thread(owned, ':5:ctx:1:one', entry);
    await a.store.thread(owned, ':5:ctx:1:one', entry);
    entry.chatId = 'changed afterwards';
    await a.store.thread(owned, 'gone', { agentId: 'two', chatId: 'c2' });
    await a.store.thread(owned, 'gone', null);
    await a.store.thread(owned, 'gone', null);
    await b.join();
    const { session } = await b.claimLater('s1');
    assert.deepEqual(session.identity, identity);
    assert.equal(session.identityKey, 'ann');
    assert.equal(session.grace, LONG - 1);
    assert.deepEqual([session.seq, session.got, session.pending], [7, 3, ['q1', 2]]);
    const stored = { agentId: 'one', contextId: 'ctx:1', chatId: 'c1', unsettled: true };
    assert.deepEqual(session.threads, { ':5:ctx:1:one': stored });
  });

  test('empty lists and missing values come back as they are', async ({ a, b }) => {
    await a.join(SHORT);
    await a.store.open(a.node(), { sid: 'plain', grace: 0 });
    await b.join();
    const [reaped] = await b.reapLater();
    assert.deepEqual(reaped?.session, {
      ...{ sid: 'plain', identityKey: undefined, identity: undefined, grace: 0, seq: 0, got: 0 },
      ...{ pending: [], threads: {}, waiting: [], exact: false },
    });
  });
};
