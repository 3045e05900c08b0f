// Sessions that another node may have since a write that got no answer.
import t, { type Test } from 'tap';
import { StoreError } from '../../../src/index.js';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

/** A node gets no answer to a handover that another one has asked for and left: it is the session's owner, and its client is back. */
async function loseHandover(t: Test, prepare: (a: ClusterNode) => void = () => {}): Promise<void> {
  const { agent, store, nodes } = await cluster(t, 2, { lease: 600 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  const [other] = await a.resume();
  await other.ask(to('hr', 'x', { id: 1 }));
  // While something is being written, the count of a renewal is right within bounds only.
  const writing = deferred();
  a.gates.thread = writing.promise;
  t.match(await other.ask({ type: 'end', agent_id: 'hr', id: 2 }), { type: 'ended' });
  a.lost.add('handover');
  prepare(a);
  const left = await b.connect();
  left.send({ type: 'resume', session, seq: 1, sent: 1 });
  await first.closed;
  await b.dropAll();
  const [second, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  const places = await store.sessionsOf('me');
  t.equal(places.find(({ sid }) => session.startsWith(sid))?.owner, 'a', 'it serves no session that is not its own');
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 2);
  writing.resolve();
}

t.test('a node that got no answer to a handover finds out who has the session, however busy it is [S-105]', (t) =>
  loseHandover(t),
);

t.test(
  'a node that gets no answer to a handover, nor to the question whose the session is, asks again [S-155]',
  async (t) => {
    let opens = 0;
    await loseHandover(t, (a) => {
      a.onCall = (name) => {
        if (name !== 'open') return;
        opens += 1;
        a.gates.open = opens === 1 ? Promise.reject(new StoreError('away', 'no answer')) : Promise.resolve();
        a.gates.open.catch(() => undefined);
      };
    });
    t.ok(opens > 0);
  },
);

t.test(
  'a node that got no answer to parking finds out who has the session before it goes on with it [S-105]',
  async (t) => {
    const { nodes } = await cluster(t, 2, { lease: 10_000 });
    const [a, b] = nodes as Pair;
    const [, { session }] = await a.resume();
    a.lost.add('park');
    await a.dropAll();
    const [second, ready] = await a.resume({ session, seq: 0, sent: 0 });
    t.match(ready, { resumed: true, seq: 0, got: 0 });
    a.lost.clear();
    t.match(await second.ask({ type: 'end', agent_id: 'support', id: 1 }), { type: 'ended', seq: 1 });
    const [, again] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(again, { resumed: true, seq: 1, got: 1 });
  },
);

t.test('a node that has lost a session does not end the chat that it was starting in it [S-135]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { first, session, gate } = await holdStart(agent, a);
  a.isCutOff = true;
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, pending: [] }, 'the client is told that it was interrupted');
  a.isCutOff = false;
  t.equal((await first.closed).code, 1012);
  gate.release();
  await until(() => a.relay.stats().sessions === 0, 'the former owner to be done with it');
  await agent.waitFor(({ counters }) => counters.started === 1);
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  t.equal(agent.counters.started, 1, 'in the same chat');
  t.notOk(agent.requests.some(({ method }) => method === 'chat.end'));
});
