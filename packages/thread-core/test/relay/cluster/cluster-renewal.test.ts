// Renewals that take long, fail in part, or come late.
import { setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { memoryStore, type SessionStore, StoreError } from '../../../src/index.js';
import { ClusterNode as Member } from '../../../src/relay/cluster/cluster-node.js';
import { LatestDescription, type RecordOwner } from '../../../src/relay/cluster/record-owner.js';
import { StoredThreads } from '../../../src/relay/cluster/stored-threads.js';
import { UnconfirmedSession } from '../../../src/relay/cluster/unconfirmed-session.js';
import { Log, until } from '../helpers.js';
import { cluster } from './cluster-helpers.js';

const OWNER: RecordOwner = {
  describe: () => ({ sid: 's', grace: 1000, secretHash: 'h' }),
  isConnected: () => true,
  writeJournal: () => Promise.resolve(true),
  onRegisteredAgain: () => undefined,
  onLost: () => undefined,
};

/** A node without a relay, which has joined. */
async function join(t: Test, store: SessionStore, lease: number): Promise<Member> {
  const node = new Member({
    ...{ store, node: 'z', lease, grace: lease, logger: new Log() },
    onBack: () => undefined,
    onRenewed: () => undefined,
    onFenced: () => undefined,
    onUnknown: () => Promise.resolve(),
  });
  node.start();
  t.teardown(() => node.stop());
  await until(() => node.state === 'ok', 'it to join');
  return node;
}

t.test(
  'a node whose sessions take longer than a lease to be registered again keeps its lease meanwhile [S-129]',
  async (t) => {
    const { store } = await cluster(t, 1);
    const lease = 300;
    const node = await join(t, store, lease);
    let registered = 0;
    for (let number = 0; number < 32 * 25; number += 1) {
      node.add({
        sid: `s${number}`,
        registration: 'maybe',
        registerAgain: async () => {
          // As long as a store on a busy network takes: all of them take 750 ms.
          await pause(30);
          registered += 1;
        },
        flush: () => Promise.resolve(true),
        lost: () => undefined,
      });
    }
    store.lose();
    await until(() => registered >= 32, 'the first sessions to be registered again');
    await pause(lease * 1.5);
    t.ok((await store.nodes()).includes('z'), 'no other node may take its sessions');
    await until(() => registered >= 32 * 25, 'all sessions to be registered again');
    await until(() => node.isLeaseGood, 'the lease to be good', 300);
    const before = registered;
    await pause(lease);
    t.equal(registered, before, 'once is enough');
  },
);

t.test('a node that has left is not made known again by a renewal [S-158]', async (t) => {
  const store = memoryStore();
  const node = await join(t, store, 10_000);
  await node.stop();
  await node.renewAfresh();
  t.strictSame(await store.nodes(), []);
});

t.test('a store that is too full for a session that was given up keeps no node from its lease [S-159]', async (t) => {
  const store = memoryStore();
  const node = await join(t, store, 10_000);
  const owned = await store.open(node.node, OWNER.describe());
  const { open } = store;
  store.open = () => Promise.reject(new StoreError('full', 'No memory is left'));
  UnconfirmedSession.add(node, owned, new LatestDescription(OWNER, true), new StoredThreads());
  await node.renewAfresh();
  t.match(node, { state: 'degraded', isAway: false, isLeaseGood: true, memberCount: 1 });
  store.open = open;
  await node.renewAfresh();
  t.match(node, { state: 'ok', memberCount: 0 }, 'it was tried again');
});
