// A node that asks for a session, and does not get it.
import t from 'tap';
import { hashSecret } from '../../../src/relay/resume/session-secret.js';
import { until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls, renewingNode } from './cluster-helpers.js';

t.test('a session that its owner does not give is asked for less and less often [S-137]', async (t) => {
  const { store, nodes } = await cluster(t, 2, { lease: 1000 });
  const [a, b] = nodes as [ClusterNode, ClusterNode];
  const renewing = renewingNode(store);
  await until(() => a.state === 'ok' && b.state === 'ok', 'the nodes to be there');
  const owner = await renewing;
  const other = owner.name === 'a' ? b : a;
  await store.open(owner, { sid: 'lost', grace: 60_000, secretHash: hashSecret('secret'), identityKey: 'me' });
  const claims = countCalls(other, 'claim');
  const [, ready] = await other.resume({ session: 'lost.secret', seq: 0, sent: 0 });
  t.match(ready, { resumed: false }, 'its owner has ended it a lease later');
  t.ok(claims.count > 2, 'it was asked for again');
  t.ok(claims.count < 12, `it was asked for ${claims.count} times`);
});
