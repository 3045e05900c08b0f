// A node that dies, and is started again under its name before its lease is over.
import t from 'tap';
import { to, until } from '../helpers.js';
import { ClusterNode, cluster, holdStart } from './cluster-helpers.js';

t.test(
  'a session that moves to a node that was started again under its name waits there for its client [S-134]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 3, { lease: 1000 });
    const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    const { session, gate } = await holdStart(agent, a);
    const [, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    b.isCutOff = true;
    const again = new ClusterNode(store, agent, { node: 'b', lease: 1000 });
    nodes.push(again);
    await until(() => again.state === 'ok', 'the node to be there again');
    gate.release();
    await until(() => a.relay.stats().sessions === 0, 'the session to move');
    const [second, resumed] = await c.resume({ session, seq: 0, sent: 1 });
    t.match(resumed, { resumed: true, session, got: 1, pending: [] });
    t.match(await second.next(), { type: 'response', id: 1 });
    t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
    t.equal(agent.counters.started, 1, 'in the same chat');
  },
);
