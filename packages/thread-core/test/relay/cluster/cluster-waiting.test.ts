// Messages that wait in a session that moves.
import t from 'tap';
import { StoreError } from '../../../src/index.js';
import { deferred, to, until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('more messages than maxPending may wait in a session that moves: none of them is lost [S-57]', async (t) => {
  const deciding = deferred();
  const { agent, nodes } = await cluster(t, 2, {
    maxPending: 2,
    authorize: async (_identity, _agentId, { message }) => {
      if (JSON.stringify(message).includes('undecided')) await deciding.promise;
      return true;
    },
  });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  const gate = agent.hold('chat.start');
  first.send(to('support', 'running', { id: 1 }));
  await gate.arrived;
  // One waits for the agent, one for `authorize`, and two for their turn.
  first.send(to('support', 'waiting', { id: 2 }));
  t.match(await first.ask({ type: 'ping', id: 'p' }), { type: 'pong' });
  first.send(to('hr', 'undecided', { id: 3 }), to('hr', 'held', { id: 4 }), to('sales', 'held', { id: 5 }));
  t.match(await first.ask({ type: 'ping', id: 'p' }), { type: 'pong' });
  const closing = a.relay.close({ timeout: 30_000 });
  gate.release();
  t.match(await first.next(), { type: 'response', id: 1, seq: 1 });
  await closing;
  deciding.resolve();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 5 });
  t.match(ready, { resumed: true, got: 5, pending: [2, 3, 4, 5] });
  const answered = (await second.all(4)).map(({ id }) => id);
  t.strictSame(answered.sort(), [2, 3, 4, 5]);
});

t.test(
  'what waits in a session that its client has not reached yet is authorized with its identity [S-131]',
  async (t) => {
    const asked: unknown[] = [];
    const { agent, nodes } = await cluster(t, 3, {
      lease: 10_000,
      authorize: (identity) => {
        asked.push(identity);
        return identity === 'me';
      },
    });
    const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    const [first, { session }] = await a.resume();
    const gate = agent.hold('chat.start');
    first.send(to('support', 'running', { id: 1 }), to('support', 'waiting', { id: 2 }), { type: 'ping', id: 'p' });
    await gate.arrived;
    t.match(await first.next(), { type: 'pong' });
    const closing = a.relay.close({ timeout: 30_000 });
    gate.release();
    await closing;
    const [asking, reading] = [deferred(), deferred()];
    b.gates.read = reading.promise;
    b.onCall = (name) => {
      if (name === 'read') asking.resolve();
    };
    const left = await b.connect();
    left.send({ type: 'resume', session, seq: 1, sent: 2 });
    await asking.promise;
    await b.dropAll();
    reading.resolve();
    await until(() => b.relay.stats().cluster?.claimed === 1, 'the session to be there');
    const [second, ready] = await c.resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, pending: [2] });
    let frame = await second.next();
    while (frame.id !== 2) frame = await second.next();
    t.match(frame, { type: 'response', id: 2 });
    t.strictSame([...new Set(asked)], ['me']);
  },
);

t.test(
  'messages that wait for their client stay where they are while the store does not take them [S-133]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 3, { lease: 10_000 });
    const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
    const [first, { session }] = await a.resume();
    const gate = agent.hold('chat.start');
    first.send(to('support', 'running', { id: 1 }), to('support', 'waiting', { id: 2 }), { type: 'ping', id: 'p' });
    await gate.arrived;
    t.match(await first.next(), { type: 'pong' });
    const closing = a.relay.close({ timeout: 30_000 });
    gate.release();
    await closing;
    const [asking, reading] = [deferred(), deferred()];
    b.gates.read = reading.promise;
    b.onCall = (name) => {
      if (name === 'read') asking.resolve();
    };
    const left = await b.connect();
    left.send({ type: 'resume', session, seq: 1, sent: 2 });
    await asking.promise;
    await b.dropAll();
    reading.resolve();
    await until(() => b.relay.stats().cluster?.claimed === 1, 'the session to be there');
    b.gates.park = Promise.reject(new StoreError('away', 'no answer'));
    b.gates.park.catch(() => undefined);
    let parks = 0;
    b.onCall = (name) => {
      if (name === 'park') parks += 1;
      if (parks > 2) delete b.gates.park;
    };
    const [second, ready] = await c.resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, pending: [2] });
    t.match(await second.next(), { type: 'response', id: 2 });
    t.equal(agent.requests.filter(({ method }) => method === 'chat.message').length, 1);
  },
);

t.test('a client sends nothing through a node that does not know its identity [S-136]', async (t) => {
  const asked: unknown[] = [];
  const { agent, nodes } = await cluster(t, 3, {
    authorize: (identity) => {
      asked.push(identity);
      return identity === 'me';
    },
  });
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  // The chat is being ended when its node dies, and the next node has to end it, too.
  let endings = 0;
  const dying = agent.hold(({ method }) => method === 'chat.end' && ++endings === 1);
  const gate = agent.hold(({ method }) => method === 'chat.end' && endings === 2);
  first.send({ type: 'end', agent_id: 'support', id: 2 });
  await dying.arrived;
  await first.ask(to('support', 'y', { id: 3 }));
  const [asking, reading] = [deferred(), deferred()];
  b.gates.read = reading.promise;
  b.onCall = (name) => {
    if (name === 'read') asking.resolve();
  };
  a.isCutOff = true;
  await a.dropAll();
  const left = await b.connect();
  left.send({ type: 'resume', session, seq: 2, sent: 3 });
  await asking.promise;
  await b.dropAll();
  reading.resolve();
  await gate.arrived;
  const posts = countCalls(b, 'post');
  const before = asked.length;
  const resuming = c.resume({ session, seq: 2, sent: 3 });
  const answering = resuming.then(([second]) => second.ask(to('support', 'z', { id: 4 })));
  await until(
    () => asked.length > before || posts.count > 3,
    'the client to be served, or the owner to be asked often',
  );
  gate.release();
  t.match(await answering, { type: 'response', id: 4 });
  t.strictSame([...new Set(asked)], ['me']);
  dying.release();
});
