import { once } from 'node:events';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { StoreError } from '../../../src/index.js';
import { deferred, textOf, to, until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls, type TestCluster } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('an idle session moves to the node to which its client connects [S-52] [F-438]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.equal(textOf(await first.ask(to('support', 'x', { id: 1 }))), 'support #1: x');
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1, got: 1, pending: [] });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { seq: 2, response: { result: { chat: {} } } });
  t.equal(agent.counters.started, 1, 'the chat continues');
  t.match(a.relay.stats(), { sessions: 0, cluster: { handedOver: 1 } });
  t.match(b.relay.stats(), { sessions: 1, cluster: { claimed: 1 } });
});

t.test('a session moves although its old connection still counts as open, which gets 4409 [S-53]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const closed = once(first.socket, 'close');
  const [, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  t.equal((await closed)[0], 4409);
});

t.test('frames that were not acknowledged move with the session, byte for byte [S-54]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  for (const id of [1, 2, 3]) first.send(to(`agent-${id}`, 'é"\\ 😀', { id }));
  const texts = [await first.text(), await first.text(), await first.text()];
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 3 });
  t.match(ready, { resumed: true, seq: 3, got: 3 });
  t.strictSame([await second.text(), await second.text()], texts.slice(1));
  t.match(await second.ask(to('agent-1', 'x', { id: 4 })), { seq: 4 });
});

t.test('frames that arrive while another node is asked close the connection with 1008 [F-291]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  const hasty = await b.connect();
  hasty.send({ type: 'resume', session, seq: 1, sent: 2 }, to('support', 'hasty', { id: 2 }));
  t.equal((await hasty.closed).code, 1008);
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 }, 'the session is not disturbed');
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('two clients that resume in turn at two nodes: the latest has the session [S-53]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  let [client, { session }] = await a.resume();
  await client.ask(to('support', 'x', { id: 0 }));
  for (let turn = 1; turn <= 6; turn += 1) {
    const closed = once(client.socket, 'close');
    const node = turn % 2 === 1 ? b : a;
    const [next, ready] = await node.resume({ session, seq: turn, sent: turn });
    t.match(ready, { resumed: true, seq: turn, got: turn });
    t.equal((await closed)[0], 4409);
    t.match(await next.ask(to('support', 'x', { id: turn })), { seq: turn + 1 });
    client = next;
  }
  t.equal(agent.counters.started, 1);
  t.equal(agent.counters.open, 1);
});

t.test(
  'another node continues the session of a dead one: its chats continue, and what ran is interrupted [S-55] [F-438] [F-440]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const gate = agent.hold('chat.message');
    first.send(to('support', 'y', { id: 2 }));
    await gate.arrived;
    a.isCutOff = true;
    await a.dropAll();
    const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, seq: 1, got: 2, pending: [] });
    gate.release();
    t.match(await second.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 2 });
    t.equal(agent.counters.started, 1);
    a.isCutOff = false;
    await until(() => a.relay.stats().sessions === 0, 'the former owner to give the session up');
    t.equal(agent.counters.ended, 0, 'it ends no chat that is not its own');
  },
);

t.test('a client that does not wait for the lease of a dead node asks again, and loses nothing [F-439]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const impatient = await b.connect();
  impatient.send({ type: 'resume', session, seq: 1, sent: 1 });
  await until(() => b.relay.stats().sessions === 1, 'the node to ask for the session');
  await b.dropAll();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, seq: 1, got: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1);
});

t.test(
  'a node without its store closes with 1013 in place of ready, and the session waits [F-436] [F-442]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { resume: { grace: 30_000 } });
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    await a.dropAll();
    b.isCutOff = true;
    const refused = await b.connect();
    refused.send({ type: 'resume', session, seq: 1, sent: 1 });
    t.equal((await refused.closed).code, 1013);
    t.strictSame(refused.texts, []);
    b.isCutOff = false;
    const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: true });
    t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
    t.equal(agent.counters.started, 1);
  },
);

t.test('frames of a detached session outlive its node [S-56]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const go = deferred();
  agent.script('chat.start', async function* () {
    yield 'one ';
    await go.promise;
    yield 'two';
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  t.match(await first.next(), { seq: 1 });
  await a.dropAll();
  go.resolve();
  await agent.waitFor(({ counters }) => counters.running === 0);
  await until(() => a.relay.stats().pending === 0, 'the answer to be complete');
  const sid = session.slice(0, session.indexOf('.'));
  await until(async () => (await storedEnd(a, sid)) > 2, 'the frames to be in the store');
  a.isCutOff = true;
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
  const frames = await second.all(ready.seq - 1);
  t.equal(frames.at(-1)?.type, 'done');
  t.strictSame(
    frames.map(({ seq }) => seq),
    Array.from({ length: ready.seq - 1 }, (_, index) => index + 2),
  );
});

/** The number of the last frame that the store has of a session. */
async function storedEnd({ relay }: ClusterNode, sid: string): Promise<number> {
  const slice = await relay.config.cluster?.store.read(sid, 0);
  return slice === undefined ? 0 : slice.firstSeq + slice.frames.length - 1;
}

t.test(
  'at shutdown sessions are parked, and clients that get 1012 continue on another node [S-57] [F-436] [F-441]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const gate = agent.hold('chat.message');
    first.send(to('support', 'running', { id: 2 }), to('support', 'waiting', { id: 3 }));
    await gate.arrived;
    const closed = once(first.socket, 'close');
    const closing = a.relay.close({ timeout: 30_000 });
    first.send(to('support', 'not taken', { id: 4 }));
    gate.release();
    t.match(await first.next(), { id: 2, seq: 2, type: 'response' }, 'what runs is answered');
    t.equal((await closed)[0], 1012);
    t.match(await closing, { sessions: 1, ended: 0, failed: 0 });
    const [second, ready] = await b.resume({ session, seq: 2, sent: 4 });
    t.match(ready, { resumed: true, seq: 2, got: 3, pending: [3] });
    t.match(await second.next(), { id: 3, type: 'response', seq: 3 }, 'what waited runs here');
    t.match(await second.ask(to('support', 'again', { id: 4 })), { type: 'response', seq: 4 });
    t.equal(agent.counters.started, 1);
  },
);

t.test(
  'a session is parked although the store is away for a part of drainTimeout, and loses nothing [S-113]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 10_000 });
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const gate = agent.hold('chat.message');
    first.send(to('support', 'running', { id: 2 }), to('support', 'waiting', { id: 3 }));
    await gate.arrived;
    const closed = once(first.socket, 'close');
    const parked = countCalls(a, 'park');
    const closing = a.relay.close({ timeout: 30_000 });
    a.isCutOff = true;
    gate.release();
    t.match(await first.next(), { id: 2, seq: 2, type: 'response' });
    await until(() => parked.count > 4, 'the node to ask several times', 10_000);
    a.isCutOff = false;
    t.equal((await closed)[0], 1012);
    await closing;
    const [second, ready] = await b.resume({ session, seq: 2, sent: 3 });
    t.match(ready, { resumed: true, seq: 2, got: 3, pending: [3] });
    t.match(await second.next(), { id: 3, type: 'response', seq: 3 });
    t.equal(agent.counters.started, 1);
  },
);

t.test(
  'a store that stays away delays the end of a shutdown by no more than drainTimeout and a few attempts [S-113]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const parked = countCalls(a, 'park');
    a.isCutOff = true;
    t.match(await a.relay.close({ timeout: 0 }), { sessions: 1, ended: 0 });
    t.equal(parked.count, 2);
    const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: true, seq: 1, got: 1 }, 'another node claims it when the lease is over');
    t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
    t.equal(agent.counters.started, 1);
  },
);

t.test(
  'a send that runs longer than drainTimeout is cancelled, and its thread continues elsewhere [S-58] [F-441]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    await first.ask(to('support', 'x', { id: 1 }));
    const gate = agent.hold('chat.message');
    first.send(to('support', 'long', { id: 2 }));
    await gate.arrived;
    const closed = once(first.socket, 'close');
    await a.relay.close({ timeout: 50 });
    t.match(await first.next(), { id: 2, seq: 2, type: 'cancelled' });
    t.equal((await closed)[0], 1012);
    gate.release();
    const [second, ready] = await b.resume({ session, seq: 2, sent: 2 });
    t.match(ready, { resumed: true, seq: 2, got: 2, pending: [] });
    t.match(await second.ask(to('support', 'y', { id: 3 })), { type: 'response' });
    t.equal(agent.counters.started, 1);
  },
);

t.test('if the grace ends while another node resumes, the client gets expired [S-59]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 50 } });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const gate = agent.hold('chat.end');
  await a.dropAll();
  await gate.arrived;
  const [, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: false, reason: 'expired', seq: 0, got: 0 });
  gate.release();
  await agent.waitFor('idle');
});

t.test('a wrong secret, or another identity, disturbs no session of another node [S-60]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  const sid = session.slice(0, session.indexOf('.'));
  const [, wrong] = await b.resume({ session: `${sid}.${'x'.repeat(32)}`, seq: 1, sent: 1 });
  t.match(wrong, { resumed: false, reason: 'unknown' });
  const [, gap] = await b.resume({ session, seq: 2, sent: 1 });
  t.match(gap, { resumed: false, reason: 'gap' });
  t.match(await first.ask(to('support', 'y', { id: 2 })), { seq: 2 });
});

t.test('a node that cannot reach the store ends no session that another one may have claimed [S-63]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 1000 } });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  a.isCutOff = true;
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  await until(() => a.relay.stats().sessions === 0, 'the grace at the former owner to end');
  t.equal(agent.counters.ended, 0);
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('a thread that was stored by its chat id moves with the session [S-61]', async (t) => {
  const { nodes, agent } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [, { session }] = await a.resume();
  const started = await a.relay.config.client.chat.start({
    targetAgent: 'support',
    initialMessage: { role: 'user', parts: [{ type: 'text', content: 'hello' }] },
  });
  const [local] = a.relay.sessions;
  local?.threads.storeThreadId('support', started.result.chat.chatId);
  await until(() => a.relay.stats().cluster?.sessions === 1, 'the session to be registered');
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 0, sent: 0 });
  t.match(ready, { resumed: true });
  await second.ask(to('support', 'x', { id: 1 }));
  t.equal(agent.counters.started, 1);
});

t.test('at shutdown clients are closed one after the other, and all within drainTimeout [S-62]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const clients = await Promise.all(Array.from({ length: 10 }, () => a.resume()));
  await Promise.all(clients.map(([client]) => client.ask(to('support', 'x', { id: 1 }))));
  const closedAt: number[] = [];
  const closed = clients.map(async ([{ socket }]) => {
    const [code] = await once(socket, 'close');
    closedAt.push(b.relay.stats().sessions);
    return code;
  });
  // Each client resumes as soon as it is closed: the next one is closed later than that.
  const resumed = clients.map(async ([{ socket }, { session }]) => {
    await once(socket, 'close');
    return (await b.resume({ session, seq: 1, sent: 1 }))[1].resumed;
  });
  await a.relay.close({ timeout: 30_000 });
  t.strictSame(await Promise.all(closed), Array(10).fill(1012));
  t.strictSame(await Promise.all(resumed), Array(10).fill(true));
  t.ok((closedAt.at(-1) ?? 0) > (closedAt[0] ?? 0), `others had resumed before the last was closed: ${closedAt}`);
});

for (const [drainTimeout, spacing] of [
  [50, 5],
  [30_000, 20],
] as const) {
  t.test(
    `at shutdown ten clients get their turns ${spacing} ms apart if drainTimeout is ${drainTimeout} ms [S-62]`,
    async (t) => {
      const { nodes } = await cluster(t, 2);
      const [a] = nodes as Pair;
      const clients = await Promise.all(Array.from({ length: 10 }, () => a.resume()));
      const codes = clients.map(async ([{ socket }]) => (await once(socket, 'close'))[0]);
      const timers = mock.method(globalThis, 'setTimeout');
      const closing = a.relay.close({ timeout: drainTimeout });
      const delays = timers.mock.calls.map(({ arguments: [, delay] }) => delay);
      timers.mock.restore();
      const turns = Array.from({ length: 9 }, (_, before) => (before + 1) * spacing);
      t.strictSame(
        turns.filter((turn) => !delays.includes(turn)),
        [],
        `timers of ${delays} ms`,
      );
      await closing;
      t.strictSame(await Promise.all(codes), Array(10).fill(1012));
    },
  );
}

t.test('a thread whose former chat is being ended continues in its new one after kill -9 [S-83]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  let endings = 0;
  // Only the one of the dead node is never answered.
  const gate = agent.hold(({ method }) => method === 'chat.end' && ++endings === 1);
  first.send({ type: 'end', agent_id: 'support', id: 2 });
  await gate.arrived;
  await first.ask(to('support', 'y', { id: 3 }));
  t.equal(textOf(await first.ask(to('support', 'y', { id: 4 }))), 'support #2: y');
  // A store gives the threads in any order: here the former chat is the last one.
  const claim = store.claim.bind(store);
  store.claim = async (...args) => {
    const result = await claim(...args);
    if (result.state !== 'claimed') return result;
    const threads = Object.fromEntries(Object.entries(result.session.threads).reverse());
    return { ...result, session: { ...result.session, threads } };
  };
  a.isCutOff = true;
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 3, sent: 4 });
  t.match(ready, { resumed: true });
  t.equal(textOf(await second.ask(to('support', 'z', { id: 5 }))), 'support #3: z', 'the new chat continues');
  await agent.waitFor(({ counters }) => counters.open === 1);
  t.equal(agent.counters.started, 2, 'the former one is ended');
  gate.release();
});

t.test('a message that was lost on its way into a session that has nothing yet is sent again [S-94]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  for (const [name, node] of Object.entries({ same: a, other: b })) {
    const [, { session }] = await a.resume();
    await a.dropAll();
    const [second, ready] = await node.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, session, seq: 0, got: 0 }, `at the ${name} node`);
    t.match(await second.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
    // The same when its threads are ended, and all frames are acknowledged.
    await second.ask({ type: 'end', agent_id: 'support', id: 2 });
    second.send({ type: 'ack', seq: 2 });
    await second.ask({ type: 'ping', id: 'p' });
    await node.dropAll();
    const [third, again] = await a.resume({ session, seq: 2, sent: 3 });
    t.match(again, { resumed: true, seq: 2, got: 2 });
    t.match(await third.ask(to('support', 'x', { id: 3 })), { type: 'response', seq: 3 });
    third.socket.close();
  }
  await until(() => agent.counters.open === 0, 'the chats to be ended');
  t.equal(agent.counters.started, 4);
});

t.test(
  'a message is pending, and can be cancelled, while its node makes sure that it owns the session [S-98]',
  async (t) => {
    const lease = 1500;
    const { agent, nodes } = await cluster(t, 1, { lease });
    const [a] = nodes as [ClusterNode];
    for (const cancels of [false, true]) {
      const [first, { session }] = await a.resume();
      const renewal = deferred();
      a.gates.renew = renewal.promise;
      // Nothing runs for so long that the lease, which is still good, has to be renewed before a message is sent.
      for (const end = performance.now() + lease * 0.7; performance.now() < end; );
      first.send(to('support', 'x', { id: 1 }));
      first.send({ type: 'end', agent_id: 'hr', id: 2 });
      await first.ask({ type: 'ping', id: 'p' });
      const [second, ready] = await a.resume({ session, seq: 0, sent: 2 });
      t.match(ready, { resumed: true, got: 2, pending: [1, 2] });
      if (cancels) second.send({ type: 'cancel', id: 1 });
      await second.ask({ type: 'ping', id: 'p' });
      renewal.resolve();
      const answers = [await second.next(), await second.next()].map(({ id, type }) => `${id}: ${type}`);
      t.strictSame(answers.sort(), [cancels ? '1: cancelled' : '1: response', '2: ended']);
      second.socket.close();
    }
    t.equal(agent.counters.started, 1);
  },
);

/** Its client leaves the second node while the first one hands the session over, and comes back at the last one. */
async function leaveDuringHandover(t: Test, nodes: readonly ClusterNode[]): Promise<void> {
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  const handover = deferred();
  a.gates.handover = handover.promise;
  const client = await b.connect();
  const closed = once(first.socket, 'close');
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  // Its former connection is closed, so the session is about to be handed over.
  await closed;
  await b.dropAll();
  handover.resolve();
  await until(() => b.relay.stats().cluster?.sessions === 1, 'the session to be at its new node', 5000);
  const [second, ready] = await (nodes.at(-1) as ClusterNode).resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1 });
  t.match(await second.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 2 });
}

t.test(
  'a session is kept by the node that it was given to although the client has left meanwhile [S-99]',
  async (t) => {
    const { nodes } = await cluster(t, 3, { lease: 10_000 });
    await leaveDuringHandover(t, nodes);
  },
);

t.test('a session that has nothing yet stays where it is if the store does not take it [S-97]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [, { session }] = await a.resume();
  const away = Promise.reject(new StoreError('away', 'no answer'));
  away.catch(() => undefined);
  a.gates.park = away;
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, session, got: 0 });
  t.match(await second.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
});

t.test('a session that has nothing yet is found although its former connection counts as open [S-94]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  const closed = once(first.socket, 'close');
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, got: 0 });
  t.equal((await closed)[0], 4409);
  t.match(await second.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  t.equal(agent.counters.started, 1);
});

t.test(
  'the first message of a session is interrupted if its node dies, and the session continues [S-94]',
  async (t) => {
    const { nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [, { session }] = await a.resume();
    a.isCutOff = true;
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, got: 1, pending: [] });
    t.match(await second.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 1 });
  },
);

t.test('a session is left to the other nodes at shutdown although it has nothing yet [S-94]', async (t) => {
  const { nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  const closed = once(first.socket, 'close');
  await a.relay.close();
  t.equal((await closed)[0], 1012);
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, got: 0 });
  t.match(await second.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
});

t.test(
  'while the store is away clients get sessions that other nodes do not know, and no frame before ready',
  async (t) => {
    const { store, nodes } = await cluster(t, 1, { lease: 60_000 });
    const [a] = nodes as [ClusterNode];
    a.isCutOff = true;
    const [first, ready] = await a.resume();
    t.notOk('resumed' in ready);
    t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'error', data: { code: -41002 } });
    a.isCutOff = false;
    t.match(await first.ask(to('support', 'x', { id: 2 })), { type: 'response' });
    const opening = deferred();
    a.gates.open = opening.promise;
    const [hasty, quitter] = [await a.connect(), await a.connect()];
    for (const client of [hasty, quitter]) client.send({ type: 'resume' });
    hasty.send(to('support', 'hasty', { id: 1 }));
    await until(() => a.relay.stats().sessions === 3, 'both to have arrived');
    const gone = a.dropAll();
    opening.resolve();
    await gone;
    t.strictSame([...hasty.texts, ...quitter.texts], []);
    const { store: own, node } = { store, node: 'a' };
    await until(async () => (await own.sessionsOf('me')).length === 1, `the others to be removed at ${node}`);
  },
);

t.test('a session that a node has claimed without an answer of the store is not ended by it [S-100]', async (t) => {
  const { agent, nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  a.isCutOff = true;
  await until(() => a.state === 'fenced', 'its lease to be over');
  b.lost.add('claim');
  const client = await b.connect();
  const closed = once(client.socket, 'close');
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.equal((await closed)[0], 1013);
  b.lost.delete('claim');
  await until(() => b.relay.stats().cluster?.sessions === 1, 'the session to be taken', 5000);
  const [second, ready] = await c.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1 });
  t.match(await second.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1, 'in the same chat');
});

for (const ending of ['is told that it is unknown', 'gets no answer'] as const) {
  t.test(
    `a session that came to a node without an answer of the store is taken, though a wrong secret for it ${ending} [S-60]`,
    async (t) => {
      const { agent, nodes } = await cluster(t, 3);
      const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
      const [first, { session }] = await a.resume();
      t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
      a.isCutOff = true;
      await until(() => a.state === 'fenced', 'its lease to be over');
      const renewing = deferred();
      b.gates.renew = renewing.promise;
      b.lost.add('claim');
      const client = await b.connect();
      client.send({ type: 'resume', session, seq: 1, sent: 1 });
      t.equal((await client.closed).code, 1013);
      const isAnswered = ending === 'is told that it is unknown';
      if (isAnswered) b.lost.delete('claim');
      const stranger = await b.connect();
      stranger.send({ type: 'resume', session: `${session}x`, seq: 1, sent: 1 });
      if (isAnswered) t.match(await stranger.next(), { type: 'ready', resumed: false, reason: 'unknown' });
      else t.equal((await stranger.closed).code, 1013);
      b.lost.delete('claim');
      stranger.socket.close();
      renewing.resolve();
      const [second, ready] = await c.resume({ session, seq: 1, sent: 1 });
      t.match(ready, { resumed: true, session, seq: 1 });
      t.match(await second.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 2 });
      t.equal(agent.counters.started, 1, 'in the same chat');
    },
  );
}

t.test(
  'a node whose lease is over resumes a session of its own when a renewal has told whose it is [S-103]',
  async (t) => {
    const { agent, store, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
    const renewing = deferred();
    a.gates.renew = renewing.promise;
    b.lost.add('claim');
    const isAtB = async (): Promise<boolean> => (await store.sessionsOf('me')).some(({ owner }) => owner === 'b');
    while (!(await isAtB())) {
      const client = await b.connect();
      const closed = once(client.socket, 'close');
      client.send({ type: 'resume', session, seq: 1, sent: 1 });
      t.equal((await closed)[0], 1013);
    }
    await a.dropAll();
    const early = await a.connect();
    const closed = once(early.socket, 'close');
    early.send({ type: 'resume', session, seq: 1, sent: 1 });
    t.match(await (await a.connect()).ask({ type: 'ping', id: 1 }), { type: 'pong' });
    await b.dropAll();
    t.strictSame(early.texts, []);
    b.lost.delete('claim');
    renewing.resolve();
    t.equal((await closed)[0], 1013);
    const [second, ready] = await a.resume({ session, seq: 1, sent: 1 });
    t.match(ready, { resumed: true, session, seq: 1 });
    t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
    t.equal(agent.counters.started, 1, 'in the same chat');
  },
);

/**
 * The second node claims a session for a request that its client has left, to continue with the first one, whose lease is over then.
 * Two messages of the client were taken there, and both are answered.
 */
async function claimBehindTheClient(t: Test, { store, nodes }: TestCluster, leaves: boolean): Promise<string> {
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  const [claiming, renewing] = [deferred(), deferred()];
  b.gates.claim = claiming.promise;
  const left = await b.connect();
  left.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.match(await (await b.connect()).ask({ type: 'ping', id: 1 }), { type: 'pong' });
  if (leaves) await b.dropAll();
  const [second] = await a.resume({ session, seq: 1, sent: 1 });
  const closed = once(second.socket, 'close');
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  a.gates.renew = renewing.promise;
  const owner = async (): Promise<string | undefined> => (await store.sessionsOf('me'))[0]?.owner;
  await until(async () => (await owner()) === undefined, 'the lease to be over');
  claiming.resolve();
  await until(async () => (await owner()) === 'b', 'the session to be claimed');
  if (!leaves) t.match(await left.next(), { type: 'ready', resumed: true, seq: 1 });
  renewing.resolve();
  t.equal((await closed)[0], 1012);
  return session;
}

for (const [name, leaves] of [
  ['when it comes, and not when it asked', true],
  ['also if a connection that it has left was served before', false],
] as const) {
  t.test(`a claimed session continues from what its client has seen ${name} [S-104]`, async (t) => {
    const all = await cluster(t, 2);
    const session = await claimBehindTheClient(t, all, leaves);
    const [client, ready] = await (all.nodes[1] as ClusterNode).resume({ session, seq: 2, sent: 2 });
    t.match(ready, { resumed: true, session, seq: 2, got: 2 });
    t.match(await client.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
    t.equal(all.agent.counters.started, 1, 'in the same chat');
  });

  t.test(`what the former owner has taken is not sent again, ${name} [S-104]`, async (t) => {
    const all = await cluster(t, 2);
    const session = await claimBehindTheClient(t, all, leaves);
    const [, ready] = await (all.nodes[1] as ClusterNode).resume({ session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, session, seq: 1, got: 2 });
  });
}

t.test('a claimed session whose client has not come is not parked as if all of it were known [S-107]', async (t) => {
  const all = await cluster(t, 3);
  const session = await claimBehindTheClient(t, all, true);
  const [, b, c] = all.nodes as [ClusterNode, ClusterNode, ClusterNode];
  await b.relay.close();
  const [client, ready] = await c.resume({ session, seq: 2, sent: 2 });
  t.match(ready, { resumed: true, session, seq: 2, got: 2 });
  t.match(await client.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  t.equal(all.agent.counters.started, 1, 'in the same chat');
});

t.test('at shutdown sessions that are left without being parked have their turns, too [S-62]', async (t) => {
  const { nodes } = await cluster(t, 3);
  const [a, b] = nodes as Pair;
  const sessions = await Promise.all(Array.from({ length: 10 }, () => a.resume()));
  a.isCutOff = true;
  await a.dropAll();
  const resumed = sessions.map(([, { session }]) => b.resume({ session, seq: 0, sent: 0 }));
  const clients = await Promise.all(resumed);
  for (const [, ready] of clients) t.match(ready, { resumed: true });
  const open: number[] = [];
  const closed = clients.map(async ([{ socket }]) => {
    t.equal((await once(socket, 'close'))[0], 1012);
    open.push(b.sockets.filter(({ readyState, OPEN }) => readyState === OPEN).length);
  });
  await b.relay.close({ timeout: 30_000 });
  await Promise.all(closed);
  t.ok((open[0] ?? 0) > 0, `others were open when the first was closed: ${open}`);
});

t.test('a node that closes for longer than a lease does not end what it has left to the others [S-132]', async (t) => {
  const all = await cluster(t, 3);
  const session = await claimBehindTheClient(t, all, true);
  const [, b, c] = all.nodes as [ClusterNode, ClusterNode, ClusterNode];
  const [other] = await b.resume();
  const gate = all.agent.hold('chat.start');
  other.send(to('hr', 'x', { id: 1 }));
  await gate.arrived;
  const renewals = countCalls(b, 'renew');
  const closing = b.relay.close({ timeout: 30_000 });
  await until(() => renewals.count > 12, 'its lease to be over several times');
  gate.release();
  await closing;
  const [client, ready] = await c.resume({ session, seq: 2, sent: 2 });
  t.match(ready, { resumed: true, session, seq: 2, got: 2 });
  t.match(await client.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  t.equal(all.agent.counters.started, 2, 'in the same chat');
});

t.test('a node that got no answer to a handover asks for the session before it goes on with it [S-105]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  a.lost.add('handover');
  const closed = once(first.socket, 'close');
  const left = await b.connect();
  left.send({ type: 'resume', session, seq: 1, sent: 1 });
  await closed;
  await b.dropAll();
  const [second, ready] = await a.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1, got: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  a.lost.delete('handover');
  const [third, again] = await b.resume({ session, seq: 2, sent: 2 });
  t.match(again, { resumed: true, session, seq: 2, got: 2 });
  t.match(await third.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  t.equal(agent.counters.started, 1, 'in the same chat');
});

t.test('frames are stored although those before them could not be removed [S-106]', async (t) => {
  const { store, nodes } = await cluster(t, 1);
  const [a] = nodes as [ClusterNode];
  const [first, { session }] = await a.resume();
  const sid = session.slice(0, session.indexOf('.'));
  const stored = async (): Promise<number | undefined> => (await store.read(sid, 0))?.firstSeq;
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  await until(async () => (await stored()) === 1, 'the frame to be stored');
  const [second] = await a.resume({ session, seq: 0, sent: 1 });
  await second.next();
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  const away = Promise.reject(new StoreError('away', 'no answer'));
  away.catch(() => undefined);
  a.gates.trim = away;
  second.send({ type: 'ack', seq: 2 });
  await until(() => a.state === 'degraded', 'the removal to have failed');
  delete a.gates.trim;
  t.match(await second.ask(to('support', 'z', { id: 3 })), { type: 'response', seq: 3 });
  await a.dropAll();
  await until(async () => (await stored()) === 3, 'the frame after them to be stored');
  const [third, ready] = await a.resume({ session, seq: 2, sent: 3 });
  t.match(ready, { resumed: true, seq: 3 });
  t.match(await third.next(), { type: 'response', seq: 3 });
});

t.test(
  'a session that was handed over without an answer of the store is not ended by its new node [S-100]',
  async (t) => {
    const { nodes } = await cluster(t, 3);
    nodes[0]?.lost.add('handover');
    await leaveDuringHandover(t, nodes);
  },
);

t.test(
  'a session that was registered without an answer of the store can be resumed on another node [S-101]',
  async (t) => {
    const { nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    a.lost.add('open');
    const [first, { session }] = await a.resume();
    a.lost.delete('open');
    await until(() => a.relay.stats().cluster?.sessions === 1, 'the session to be registered', 5000);
    const closed = once(first.socket, 'close');
    const [second, ready] = await b.resume({ session, seq: 0, sent: 0 });
    t.match(ready, { resumed: true, session, seq: 0 });
    t.equal((await closed)[0], 4409);
    t.match(await second.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  },
);

t.test('a session whose grace is over when the store has lost its data leaves no chat open [S-102]', async (t) => {
  const { agent, nodes, store } = await cluster(t, 1, { lease: 10_000, resume: { grace: 200 } });
  const [a] = nodes as [ClusterNode];
  const [first] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response' });
  store.lose();
  await a.dropAll();
  await until(() => agent.counters.open === 0, 'the chat to be ended', 5000);
});

t.test('a session that is handed over when the store has lost its data continues [S-102]', async (t) => {
  const { nodes, store } = await cluster(t, 2, { lease: 1000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  const handover = deferred();
  a.gates.handover = handover.promise;
  const closed = once(first.socket, 'close');
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  await closed;
  store.lose();
  handover.resolve();
  t.match(await client.next(), { type: 'ready', resumed: true, session, seq: 1 });
  t.match(await client.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 2 });
});

t.test('a session that is idle when the store has lost its data can be parked [S-102]', async (t) => {
  const { nodes, store } = await cluster(t, 2, { lease: 1000 });
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  t.match(await first.ask(to('support', 'x', { id: 1 })), { type: 'response', seq: 1 });
  store.lose();
  const closed = once(first.socket, 'close');
  await a.relay.close();
  t.equal((await closed)[0], 1012);
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1 });
  t.match(await second.ask(to('support', 'x', { id: 2 })), { type: 'response', seq: 2 });
});
