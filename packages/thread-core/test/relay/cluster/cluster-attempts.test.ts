// Attempts to resume that must not succeed: with a wrong secret, while the lease is over, or after a newer one.
import t from 'tap';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

type Three = [ClusterNode, ClusterNode, ClusterNode];

/** Counts how often a node looks for a session, and ends an endless search. */
function countSearches({ relay }: ClusterNode): { count: number } {
  const searches = { count: 0 };
  const { resumables } = relay;
  if (resumables === undefined) throw new Error('Its sessions are not resumable');
  const has = resumables.has.bind(resumables);
  resumables.has = (sid) => {
    searches.count += 1;
    if (searches.count > 10_000) throw new Error('The search does not end');
    return has(sid);
  };
  return searches;
}

t.test('a wrong secret for a session of the same node is answered at once [S-161]', async (t) => {
  const { nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first, { session }] = await a.resume();
  const searches = countSearches(a);
  const [, ready] = await a.resume({ session: `${session}x`, seq: 0, sent: 0 });
  t.match(ready, { resumed: false, reason: 'unknown' });
  t.ok(searches.count < 10, `${searches.count} searches`);
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 }, 'its owner is not disturbed');
});

t.test('a clock that is set back while the store is away does not make a lease good again [S-162]', async (t) => {
  const { nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await until(() => !(a.relay.cluster?.isLeaseGood ?? true), 'the lease to be over');
  const { now } = Date;
  t.teardown(() => {
    Date.now = now;
  });
  Date.now = () => now() - 500;
  const searches = countSearches(a);
  const second = await a.connect();
  second.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await second.closed).code, 1013);
  t.ok(searches.count < 10, `${searches.count} searches`);
});

t.test('an attempt to resume that its client has given up takes nothing from the newer one [S-163]', async (t) => {
  const { nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as Three;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const claiming = deferred();
  b.gates.claim = claiming.promise;
  const waiting = deferred();
  b.onCall = (name) => {
    if (name === 'claim') waiting.resolve();
  };
  const older = await b.connect();
  older.send({ type: 'resume', session, seq: 1, sent: 1 });
  await waiting.promise;
  const [newer, ready] = await c.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  claiming.resolve();
  t.equal((await older.closed).code, 4409);
  t.match(await newer.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
});
