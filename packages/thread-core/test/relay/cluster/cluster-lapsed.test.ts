// A node that has lost its lease, and does not know yet which of its sessions others have claimed.
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { StoreError } from '../../../src/index.js';
import { deferred, to, until } from '../helpers.js';
import { ClusterNode, cluster, countCalls, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

for (const code of [undefined, 1000, 4401]) {
  t.test(
    `a session that another node has claimed loses no chat when its old connection is closed with ${code} [S-146]`,
    async (t) => {
      const { agent, nodes } = await cluster(t, 2);
      const [a, b] = nodes as Pair;
      const [first, { session }] = await a.resume();
      await first.ask(to('support', 'x', { id: 1 }));
      a.isCutOff = true;
      const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
      t.match(ready, { resumed: true });
      // Clients close a connection that fell silent when they have another one; the application may close a session, too.
      if (code === 4401) [...a.relay.sessions][0]?.close(code);
      else first.socket.close(code);
      await until(() => a.relay.stats().sessions === 0, 'the session to be given up by its former node', 10_000);
      t.equal(agent.counters.ended, 0);
      t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
      t.equal(agent.counters.started, 1);
    },
  );
}

t.test('a session that ends at a node whose lease was over, and which nobody claimed, is ended [S-146]', async (t) => {
  const { agent, nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await until(() => a.state === 'fenced', 'the lease to be over', 10_000);
  first.socket.close(1000);
  await until(() => a.relay.stats().sessions === 0, 'the session to be given up', 10_000);
  a.isCutOff = false;
  await agent.waitFor('idle');
});

t.test('a client continues its session at a node that had given it up when its grace was over [S-147]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 1000 } });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const [second] = await b.resume({ session, seq: 1, sent: 1 });
  await until(() => a.relay.stats().sessions === 0, 'the grace at the former owner to end', 10_000);
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  a.isCutOff = false;
  await until(() => a.state === 'ok', 'the former owner to be back');
  await b.dropAll();
  const [third, ready] = await a.resume({ session, seq: 2, sent: 2 });
  t.match(ready, { resumed: true, got: 2 });
  t.match(await third.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  t.equal(agent.counters.started, 1);
});

t.test(
  'a chat.start that fails at a node after another one has claimed its session ends no chat [S-148]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { sendTimeout: 3000 });
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    a.isCutOff = true;
    await a.dropAll();
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, got: 1, pending: [] });
    t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 1 });
    await until(() => a.relay.stats().pending === 0, 'the chat.start to fail', 10_000);
    t.match(await second.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 2 });
    t.equal(agent.counters.ended, 0);
    t.equal(agent.counters.started, 1);
    gate.release();
  },
);

for (const end of ['is left by its client', 'is over its grace'] as const) {
  t.test(
    `a session that ${end} while the store is away, which loses its data then, leaves no chat open [S-151]`,
    async (t) => {
      const isLeft = end === 'is left by its client';
      const { agent, store, nodes } = await cluster(t, 1, { lease: 300, resume: { grace: isLeft ? 60_000 : 600 } });
      const [a] = nodes as [ClusterNode];
      const [first] = await a.resume();
      await first.ask(to('support', 'x', { id: 1 }));
      a.isCutOff = true;
      if (!isLeft) await a.dropAll();
      await until(() => a.state === 'fenced', 'the lease to be over', 10_000);
      if (isLeft) first.socket.close(1000);
      await until(() => a.relay.stats().sessions === 0, 'the session to be given up', 10_000);
      store.lose();
      a.isCutOff = false;
      await agent.waitFor('idle', { timeout: 10_000 });
      await until(async () => (await store.sessionsOf('me')).length === 0, 'the session to be removed');
      t.equal(a.relay.stats().cluster?.sessions, 0);
    },
  );
}

for (const loses of [false, true]) {
  t.test(
    `a message is not sent again after its node gave its session up${loses ? ', and the store lost its data' : ''} [S-152]`,
    async (t) => {
      const { agent, store, nodes } = await cluster(t, 1, { lease: 300, sendTimeout: 1000 });
      const [a] = nodes as [ClusterNode];
      const [first, { session }] = await a.resume();
      const gate = agent.hold('chat.start');
      first.send(to('support', 'x', { id: 1 }));
      await gate.arrived;
      a.isCutOff = true;
      t.equal((await first.closed).code, 1012, 'the chat.start fails when nobody knows whose the session is');
      gate.release();
      if (loses) store.lose();
      a.isCutOff = false;
      await until(() => a.state === 'ok', 'the node to be back');
      const [second, ready] = await a.resume({ session, seq: 0, sent: 1 });
      t.match(ready, { resumed: true, got: 1, pending: [] }, 'the client is told that it was interrupted');
      t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
    },
  );
}

t.test('a session that was given up while the store was away is continued at another node, too [S-156]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 300, sendTimeout: 1000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('hr', 'x', { id: 1 }));
  const gate = agent.hold('chat.start');
  first.send(to('support', 'x', { id: 2 }));
  await gate.arrived;
  for (const node of nodes) node.isCutOff = true;
  t.equal((await first.closed).code, 1012);
  gate.release();
  // One after the other: otherwise the other one claims the session of a dead node.
  for (const node of nodes) {
    node.isCutOff = false;
    await until(() => node.state === 'ok', 'the node to be back');
  }
  const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, got: 2, pending: [] });
  t.match(await second.ask(to('hr', 'y', { id: 3 })), { type: 'response', id: 3 });
  t.equal(agent.counters.ended, 0);
  t.equal(a.relay.stats().sessions, 0);
});

t.test('a session that was given up, claimed and lost by the store stays where it was claimed [S-157]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  const [second] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  first.socket.close(1000);
  await until(() => a.relay.stats().sessions === 0, 'the session to be given up', 10_000);
  const renewing = deferred();
  b.gates.renew = renewing.promise;
  store.lose();
  a.isCutOff = false;
  await until(() => a.state === 'ok', 'its former node to be back');
  await b.dropAll();
  a.onCall = (name) => {
    if (name === 'renew') renewing.resolve();
  };
  const [third, ready] = await a.resume({ session, seq: 2, sent: 2 });
  t.match(ready, { resumed: true, seq: 2, got: 2, pending: [] });
  t.match(await third.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  t.equal(b.relay.stats().cluster?.handedOver, 1, 'the node that had claimed it gives it away');
  t.equal(agent.counters.started, 1);
});

t.test('nor does a client that leaves bring a session back that another node may have [S-157]', async (t) => {
  const { store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  const [second] = await b.resume({ session, seq: 1, sent: 1 });
  first.socket.close(1000);
  await until(() => a.relay.stats().sessions === 0, 'the session to be given up', 10_000);
  const renewing = deferred();
  b.gates.renew = renewing.promise;
  store.lose();
  a.isCutOff = false;
  await until(() => a.state === 'ok', 'its former node to be back');
  const claimed = deferred();
  a.onCall = (name) => {
    if (name === 'claim') claimed.resolve();
  };
  const third = await a.connect();
  third.send({ type: 'resume', session, seq: 1, sent: 1 });
  await claimed.promise;
  third.socket.terminate();
  await until(() => a.relay.stats().sessions === 0, 'the connection to be gone');
  renewing.resolve();
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(a.relay.stats().cluster?.claimed, 0);
});

t.test('a session that was given up and claimed again is not registered once more as it was [S-160]', async (t) => {
  const { agent, nodes } = await cluster(t, 1, { lease: 300, sendTimeout: 1000 });
  const [a] = nodes as [ClusterNode];
  const { first, session, gate } = await holdStart(agent, a);
  a.isCutOff = true;
  t.equal((await first.closed).code, 1012);
  gate.release();
  // It cannot be registered: the store is full.
  a.gates.open = Promise.reject(new StoreError('full', 'No memory is left'));
  a.gates.open.catch(() => undefined);
  a.isCutOff = false;
  await until(() => a.relay.cluster?.isLeaseGood === true, 'the lease to be renewed');
  const [, ready] = await a.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, got: 1, pending: [] });
  t.equal(a.relay.stats().cluster?.sessions, 1, 'it is a session of the node once');
  delete a.gates.open;
});

t.test('what a node gave up is not claimed before a renewal has told whether data was lost [S-157]', async (t) => {
  const { store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  const [second] = await b.resume({ session, seq: 1, sent: 1 });
  first.socket.close(1000);
  await until(() => a.relay.stats().sessions === 0, 'the session to be given up', 10_000);
  const [renewingA, renewingB] = [deferred(), deferred()];
  a.gates.renew = renewingA.promise;
  b.gates.renew = renewingB.promise;
  store.lose();
  const opened = countCalls(a, 'open');
  a.isCutOff = false;
  const third = await a.connect();
  third.send({ type: 'resume', session, seq: 1, sent: 1 });
  // Time enough to claim it.
  await pause(100);
  t.equal(opened.count, 0, 'it registers nothing');
  renewingB.resolve();
  await until(async () => (await store.sessionsOf('me'))[0]?.owner === 'b', 'the other node to register it again');
  renewingA.resolve();
  t.equal((await third.closed).code, 1013);
  await until(() => a.state === 'ok', 'its former node to be back');
  t.match((await a.resume({ session, seq: 1, sent: 1 }))[1], { resumed: true, seq: 1, got: 1 });
  t.equal((await second.closed).code, 4409);
  t.equal(b.relay.stats().cluster?.handedOver, 1);
});

for (const resume of [undefined, { grace: 600 }]) {
  const kind = resume === undefined ? 'sessions' : 'resumable sessions';
  t.test(
    `after a long outage of the store the first node back ends no chats of the others' ${kind} [S-164]`,
    async (t) => {
      const lease = 300;
      const { agent, nodes } = await cluster(t, 2, { lease, ...(resume && { resume }) });
      const [a, b] = nodes as Pair;
      const client = resume === undefined ? await a.connect() : (await a.resume())[0];
      await client.ask(to('support', 'x', { id: 1 }));
      for (const node of nodes) node.isCutOff = true;
      // Longer than lease and grace, after which the chats are ended of a node that is dead.
      await pause(lease + (resume?.grace ?? lease) + lease);
      b.isCutOff = false;
      await until(() => b.state === 'ok', 'the first node to be back');
      a.isCutOff = false;
      await until(() => a.state === 'ok', 'the other node to be back');
      t.match(await client.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
      t.equal(agent.counters.ended, 0);
      t.equal(b.relay.stats().cluster?.reaped, 0);
    },
  );
}

t.test('nor does a node that joins after a long outage of the store [S-164]', async (t) => {
  const options = { lease: 300, resume: { grace: 600 } };
  const { agent, store, nodes } = await cluster(t, 1, options);
  const [a] = nodes as [ClusterNode];
  const [client] = await a.resume();
  await client.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  // Longer than lease and grace.
  await pause(1200);
  const joining = new ClusterNode(store, agent, { node: 'c', ...options });
  t.teardown(() => joining.close());
  await until(() => joining.state === 'ok', 'it to join');
  a.isCutOff = false;
  await until(() => a.state === 'ok', 'the other node to be back');
  t.match(await client.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  t.equal(agent.counters.ended, 0);
});

t.test('a position that is impossible does not spoil a session whose node is dead [F-276] [F-277]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  for (const position of [
    { seq: 2 ** 60, sent: 1 },
    { seq: 1, sent: 2 ** 60 },
    { seq: 1.5, sent: 1 },
  ]) {
    const [, { resumed, reason }] = await b.resume({ session, ...position });
    t.strictSame([resumed, reason], [false, 'gap']);
  }
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2, seq: 2 });
  t.equal(agent.counters.started, 1);
});
