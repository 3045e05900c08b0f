// A record in another version.
import t from 'tap';
import { StoreError } from '../../../src/index.js';
import { to, until } from '../helpers.js';
import { type ClusterNode, cluster, renewingNode } from './cluster-helpers.js';

t.test(
  'a session in another version, which a newer node gave to this one, does not keep it from renewing [S-88]',
  async (t) => {
    const { store, nodes } = await cluster(t, 1);
    const [a] = nodes as [ClusterNode];
    const [keeper] = await a.resume();
    await keeper.ask(to('hr', 'x', { id: 1 }));
    const node = await renewingNode(store);
    const reapOne = store.reapOne.bind(store);
    let refused = 0;
    store.reapOne = (...args) => {
      if (args[1] !== 'newer') return reapOne(...args);
      refused += 1;
      return Promise.reject(new StoreError('version', 'A session was stored in version 2'));
    };
    await store.open(node, { sid: 'newer', grace: 60_000 });
    await until(() => refused > 2, 'the node to have looked at it several times', 5000);
    t.match(await keeper.ask(to('sales', 'y', { id: 2 })), { type: 'response' });
    t.equal(a.state, 'ok');
    store.reapOne = reapOne;
  },
);
