// Threads that the application itself has in sessions.
import t from 'tap';
import { text } from '../../../src/index.js';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls, holdStart, type Ready } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

for (const store of ['can be reached', 'is away'] as const) {
  t.test(
    `a session with a thread of the application moves, if the store ${store} when its client asks for it [S-143]`,
    async (t) => {
      const { agent, nodes } = await cluster(t, 2, { lease: 300 });
      const [a, b] = nodes as Pair;
      const first = await a.connect();
      const [local] = a.relay.sessions;
      await local?.threads.sendToAgent({ agentId: 'support', message: text('hello') });
      a.isCutOff = store === 'is away';
      first.send({ type: 'resume' });
      const { session } = (await first.next()) as Ready;
      a.isCutOff = false;
      await until(() => a.state === 'ok', 'the store to be reached again');
      t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', id: 1 });
      await a.dropAll();
      const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
      t.match(ready, { resumed: true, got: 1 });
      t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
      t.equal(agent.counters.started, 1);
    },
  );
}

t.test('a message of the application that waits at a shutdown settles, and its session moves [S-144]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [a, b] = nodes as Pair;
  const { first, session, gate } = await holdStart(agent, a);
  const [local] = a.relay.sessions;
  const own = local?.threads.sendToAgent({ agentId: 'support', message: text('hello') });
  const closing = a.relay.close({ timeout: 30_000 });
  gate.release();
  t.match(await first.next(), { type: 'response', id: 1 });
  t.equal((await first.closed).code, 1012);
  await own?.catch(() => undefined);
  await closing;
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('a session moves when no message of the application runs in it [S-145]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [a, b] = nodes as Pair;
  const [, { session }] = await a.resume();
  const [local] = a.relay.sessions;
  const gate = agent.hold('chat.start');
  const own = local?.threads.sendToAgent({ agentId: 'support', message: text('hello') });
  own?.catch(() => undefined);
  await gate.arrived;
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 0, sent: 0 });
  t.match(ready, { resumed: true, got: 0 });
  gate.release();
  t.ok(await own);
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', id: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('an identity.save that throws is no failure of the store, also when its client has left [F-492]', async (t) => {
  const identity = {
    save: (): never => {
      throw new Error('cannot be saved');
    },
    load: () => 'me',
  };
  const { nodes } = await cluster(t, 1, { identity, lease: 10_000 });
  const [a] = nodes as [ClusterNode];
  const [client] = await a.resume();
  t.match(await client.ask(to('support', 'x', { id: 1 })), { type: 'error', data: { code: -41_002 } });
  await a.dropAll();
  t.match(await a.log.line('a session could not be stored'), {
    level: 'warn',
    about: { err: { message: 'cannot be saved' } },
  });
  t.equal(a.state, 'ok');
});

t.test('a thread that the application has forgotten is not continued at another node [S-172]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const [local] = a.relay.sessions;
  local?.threads.clear();
  await first.ask(to('hr', 'x', { id: 2 }));
  await a.dropAll();
  const [second] = await b.resume({ session, seq: 2, sent: 2 });
  t.match(await second.ask(to('support', 'y', { id: 3 })), { type: 'response', id: 3 });
  t.equal(agent.counters.started, 3);
});

t.test('a session that a hook ends when its client comes to another node is not continued there [S-177]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, {
    lease: 10_000,
    hooks: { onResume: (session) => session.close(4401, 'Token expired') },
  });
  const [a, b] = nodes as Pair;
  const { session, gate } = await holdStart(agent, a);
  await a.dropAll();
  const [, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: false, reason: 'expired' });
  gate.release();
  await agent.waitFor('idle');
});

t.test(
  'a session that the application closes while it moves to another node is not continued there [S-178]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2, { lease: 300 });
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const [local] = a.relay.sessions;
    await a.dropAll();
    const gate = deferred();
    a.gates.handover = gate.promise;
    const calls = countCalls(a, 'handover');
    const resuming = b.resume({ session, seq: 1, sent: 1 });
    await until(() => calls.count > 0, 'the session to be handed over');
    local?.close(4403, 'Banned');
    gate.resolve();
    const [, ready] = await resuming;
    t.match(ready, { resumed: false, reason: 'expired' });
    await agent.waitFor('idle');
    await until(async () => (await store.sessionsOf('me')).length === 1, 'the store to have the new session only');
  },
);
