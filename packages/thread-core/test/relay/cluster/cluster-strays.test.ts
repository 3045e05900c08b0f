// Sessions that only the store has of a node.
import t from 'tap';
import type { StoreNode } from '../../../src/index.js';
import { until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

t.test(
  'a node ends all sessions that only the store has of it, also if they are more than it remembers [S-89]',
  async (t) => {
    const { store, nodes } = await cluster(t, 1, { lease: 1000 });
    const [a] = nodes as [ClusterNode];
    let node: StoreNode | undefined;
    const renew = store.renew.bind(store);
    store.renew = (given) => {
      node = given;
      return renew(given);
    };
    await until(() => node !== undefined, 'a renewal');
    const own = node as unknown as StoreNode;
    for (let number = 0; number < 10_100; number += 1) await store.open(own, { sid: `s${number}`, grace: 60_000 });
    await until(async () => (await store.sessionsOn(own)).length === 0, 'them to be ended', 30_000);
    t.equal(a.state, 'ok');
  },
);
