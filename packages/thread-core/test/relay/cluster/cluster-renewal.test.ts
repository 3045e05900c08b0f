// A renewal that takes long.
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { ClusterNode as Member } from '../../../src/relay/cluster/cluster-node.js';
import { Log, until } from '../helpers.js';
import { cluster } from './cluster-helpers.js';

t.test(
  'a node whose sessions take longer than a lease to be registered again keeps its lease meanwhile [S-129]',
  async (t) => {
    const { store } = await cluster(t, 1);
    const lease = 300;
    const states: string[] = [];
    const node = new Member({
      ...{ store, node: 'z', lease, grace: lease, logger: new Log() },
      onRenewed: () => states.push(node.state),
      onFenced: () => undefined,
      onUnknown: () => Promise.resolve(),
    });
    node.start();
    t.teardown(() => node.stop());
    await until(() => node.state === 'ok', 'it to join');
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
