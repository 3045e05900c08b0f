// The last frames of a session whose client is at another node.
import t from 'tap';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test(
  'a session that is closed by its node sends its last frames to a client at another node, too [S-64]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    const [local] = a.relay.sessions;
    local?.close(4000, 'bye');
    gate.release();
    t.match(await second.next(), { type: 'cancelled', id: 1, seq: 1 });
    t.match(await second.closed, { code: 4000, reason: 'bye' });
  },
);
