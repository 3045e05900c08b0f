// Sessions that only the store has of a node.
import t from 'tap';
import { until } from '../helpers.js';
import { type ClusterNode, cluster, renewingNode } from './cluster-helpers.js';

t.test(
  'a node ends all sessions that only the store has of it, also if they are more than it remembers [S-89]',
  async (t) => {
    const { store, nodes } = await cluster(t, 1, { lease: 1000 });
    const [a] = nodes as [ClusterNode];
    const node = await renewingNode(store);
    for (let number = 0; number < 10_100; number += 1) await store.open(node, { sid: `s${number}`, grace: 60_000 });
    await until(async () => (await store.sessionsOn(node)).length === 0, 'them to be ended', 30_000);
    t.equal(a.state, 'ok');
  },
);
