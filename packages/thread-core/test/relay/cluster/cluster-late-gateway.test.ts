// A shutdown while the owner of a session has not answered yet.
import t from 'tap';
import { StoreError } from '../../../src/index.js';
import { deferred, until } from '../helpers.js';
import { type ClusterNode, cluster, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test(
  'a connection that is served by another node only since the shutdown began is closed by its end [S-118]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    // Each of them has its turn 20 ms after the one before.
    for (let count = 0; count < 30; count += 1) await b.connect();
    const [asked, answering] = [deferred(), deferred()];
    a.gates.post = answering.promise;
    a.onCall = (name) => {
      if (name === 'post') asked.resolve();
    };
    const second = await b.connect();
    second.send({ type: 'resume', session, seq: 0, sent: 1 });
    await asked.promise;
    const closing = b.relay.close({ timeout: 30_000 });
    answering.resolve();
    await closing;
    t.equal(b.relay.stats().cluster?.gateways, 0);
    gate.release();
    await until(() => second.socket.readyState === second.socket.CLOSED, 'the connection to be closed', 3000);
    t.equal((await second.closed).code, 1012);
  },
);

t.test(
  'a session whose client is at another node does not hold up a shutdown while the store is away [S-120]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 10_000, cleanupTimeout: 200 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    const [, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    const away = deferred();
    const never = away.promise.then(() => Promise.reject(new StoreError('away', 'no answer')));
    never.catch(() => undefined);
    for (const name of [
      'thread',
      'park',
      'renew',
      'leave',
      'close',
      'reap',
      'append',
      'trim',
      'post',
      'handover',
    ] as const)
      a.gates[name] = never;
    gate.release();
    await until(() => a.relay.stats().pending === 0, 'the answer to be complete');
    let isClosed = false;
    void a.relay.close({ timeout: 100 }).then(() => {
      isClosed = true;
    });
    await until(() => isClosed, 'the relay to be closed', 5000).catch((error: Error) => t.fail(error.message));
    away.resolve();
    for (const name of Object.keys(a.gates)) delete a.gates[name as keyof typeof a.gates];
  },
);
