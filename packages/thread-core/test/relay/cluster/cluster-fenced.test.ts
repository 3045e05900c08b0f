// A node that has lost its name.
import t from 'tap';
import { until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

t.test(
  'connections that have nothing in the store are closed, too, when their node has lost its name [S-124]',
  async (t) => {
    const { store, nodes } = await cluster(t, 1);
    const [a] = nodes as [ClusterNode];
    const client = await a.connect();
    t.match(await client.ask({ type: 'ping', id: 1 }), { type: 'pong' });
    await store.join({ name: 'a', incarnation: 'another', lease: 60_000 });
    await until(() => client.socket.readyState === client.socket.CLOSED, 'the connection to be closed', 3000);
    t.equal((await client.closed).code, 1012);
  },
);
