// Sign-outs of users whose sessions have no node that could hear of it.
import t from 'tap';
import { to } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('no sign-out ends the parked sessions of all clients without an identity [S-121]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  for (const { server, relay } of nodes) {
    server.removeAllListeners('connection');
    server.on('connection', (socket, request) => relay.attach(socket, request));
  }
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.relay.close();
  await b.relay.endSessions('');
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
});
