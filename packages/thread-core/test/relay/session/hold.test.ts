import t from 'tap';
import type { Session } from '../../../src/index.js';
import { deferred, type Frame, say, sweepsOf, textOf, to, type World, type WorldOptions, world } from '../helpers.js';

t.test('frames that arrive while authenticate runs are kept, in order [F-3] [F-52] [S-3]', async (t) => {
  const asked = deferred<unknown>();
  const all = await world(t, { attach: {}, authenticate: () => asked.promise });
  const client = await all.connect();
  for (let id = 0; id < 20; id++) client.send(to('a', `${id}`, { id }));
  client.send({ type: 'ping', id: 'p' });
  await all.received(21);
  t.equal(all.agent.counters.requests, 0);
  t.equal(all.session.identity, undefined);
  asked.resolve({ user: 1 });
  t.match(await client.next(), { type: 'pong', id: 'p' });
  const frames = await client.all(20);
  t.strictSame(
    frames.map(({ id }) => id),
    [...frames.keys()],
  );
  t.strictSame(
    frames.map(textOf),
    frames.map((_, index) => `a #${index + 1}: ${index}`),
  );
  t.strictSame(all.session.identity, { user: 1 });
});

t.test('frames that arrive while authenticate runs are kept up to maxPending [F-110] [S-4]', async (t) => {
  const asked = deferred<unknown>();
  const all = await world(t, { attach: {}, authenticate: () => asked.promise, maxPending: 2 });
  const client = await all.connect();
  for (const id of [1, 2, 3]) client.send(to('a', 'x', { id }));
  client.send('not JSON', { type: 'ping', id: 4, agent_id: { not: 'known' } });
  const refused = await client.all(3);
  t.match(refused, Array(3).fill({ type: 'error', data: { code: -44_007, message: 'Too many frames are waiting' } }));
  t.strictSame(
    refused.map(({ data, ...echo }) => echo),
    [{ type: 'error', id: 3, agent_id: 'a' }, { type: 'error' }, { type: 'error', id: 4 }],
  );
  asked.resolve(true);
  t.match(await client.all(2), [
    { type: 'response', id: 1 },
    { type: 'response', id: 2 },
  ]);
});

t.test('a client that keeps sending while authenticate runs is closed with 4429', async (t) => {
  const asked = deferred<unknown>();
  const all = await world(t, { attach: {}, authenticate: () => asked.promise });
  const client = await all.connect();
  for (let id = 0; id < 200; id++) client.send(to('a', 'x', { id }));
  t.equal((await client.closed).code, 4429);
  // What was refused came at once, what was kept when nothing was to come of it any more.
  t.match(await client.all(48), [...Array(16).fill({ type: 'error' }), ...Array(32).fill({ type: 'cancelled' })]);
  asked.resolve(true);
  await all.session.closed;
  t.equal(all.agent.counters.requests, 0);
});

t.test('frames of a connection that is refused are not answered [F-160]', async (t) => {
  const asked = deferred<unknown>();
  const all = await world(t, { attach: {}, authenticate: () => asked.promise });
  const client = await all.connect();
  client.send(to('a'), { type: 'ping' });
  await all.received(2);
  asked.resolve(null);
  t.match(await client.closed, { code: 4401 });
  t.strictSame(client.texts, []);
  t.equal(all.agent.counters.requests, 0);
});

t.test('frames keep their order while route and authorize decide [F-36] [S-3]', async (t) => {
  const asked: string[] = [];
  const waiting: (() => void)[] = [];
  const all = await world(t, {
    route: async (frame) => {
      asked.push(`route ${frame.id}`);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return 'a';
    },
    authorize: async (_identity, agentId, frame) => {
      asked.push(`authorize ${frame.id} ${agentId}`);
      await new Promise<void>((resolve) => waiting.push(resolve));
      return frame.id !== 3;
    },
  });
  const client = await all.connect();
  client.send({ id: 1, message: say('1') }, to('a', '2', { id: 2 }), { type: 'ping' }, to('a', '3', { id: 3 }));
  client.send(to('a', '4', { id: 4 }), 'bad', { type: 'cancel', id: 4 });
  await all.received(7);
  const frames: Frame[] = [];
  while (frames.length < 6) {
    waiting.shift()?.();
    if (client.texts.length > 0) frames.push(await client.next());
    else await new Promise(setImmediate);
  }
  t.strictSame(asked, ['route 1', 'authorize 1 a', 'authorize 2 a', 'authorize 3 a']);
  t.strictSame(
    frames.filter(({ type }) => type !== 'response').map(({ type, id }) => [type, id]),
    [
      ['cancelled', 4],
      ['pong', undefined],
      ['error', 3],
      ['error', undefined],
    ],
  );
  t.strictSame(frames.filter(({ type }) => type === 'response').map(textOf), ['a #1: 1', 'a #2: 2']);
});

t.test('authorize gets the identity, the agent and the frame, and only true allows the message', async (t) => {
  const calls: unknown[] = [];
  const answers: unknown[] = [true, false, undefined, 1, 'yes', {}];
  const all = await world(t, {
    attach: { identity: { user: 'u' } },
    authorize: (...args) => {
      calls.push(args);
      return answers.shift() as boolean;
    },
  });
  const client = await all.connect();
  const frame = to('a', 'x', { metadata: { m: 1 } });
  t.equal((await client.ask(frame)).type, 'response');
  while (answers.length > 0) t.match(await client.ask(to('a')), { type: 'error', data: { code: -44_002 } });
  t.strictSame(calls[0], [{ user: 'u' }, 'a', frame]);
  t.equal(all.agent.requests.length, 1);
});

t.test('only true of the function agents is a yes', async (t) => {
  const answers: unknown[] = [true, false, undefined, 1, 'yes'];
  const all = await world(t, { agents: () => answers.shift() as boolean });
  const client = await all.connect();
  t.equal((await client.ask(to('a'))).type, 'response');
  while (answers.length > 0) t.match(await client.ask(to('a')), { type: 'error', data: { code: -44_002 } });
  t.equal(all.agent.requests.length, 1);
});

t.test('route chooses the agent of a frame that names none, and only of such [F-72] [F-76] [F-77]', async (t) => {
  const asked: Session[] = [];
  const all = await world(t, {
    route: (frame, session) => {
      asked.push(session);
      return frame.metadata === undefined ? 'routed' : undefined;
    },
    agents: ['routed', 'named'],
  });
  const client = await all.connect();
  const frame = await client.ask({ message: say('x'), context_id: 'c' });
  t.strictSame(Object.keys(frame), ['type', 'context_id', 'response'], 'the answer repeats what the frame had');
  t.equal(textOf(frame), 'routed #1: x');
  t.equal(textOf(await client.ask({ ...to('routed', 'y'), context_id: 'c' })), 'routed #2: y', 'it is the same thread');
  t.equal(textOf(await client.ask(to('named'))), 'named #1: hello');
  t.strictSame(asked, [all.session]);
  t.match(await client.ask({ message: say('x'), metadata: {} }), { type: 'error', data: { code: -41_001 } });
});

t.test('an agent that route chooses has to be allowed, too', async (t) => {
  const all = await world(t, { route: () => 'b', agents: ['a'] });
  const client = await all.connect();
  t.match(await client.ask({ message: say('x') }), { type: 'error', data: { code: -44_002 } });
});

t.test('a send that is let through after its connection has gone is not sent', async (t) => {
  for (const leave of ['terminate', 'close'] as const) {
    const asked = deferred();
    const answer = deferred<boolean>();
    const all = await world(t, {
      authorize: async (_identity, agentId) => {
        if (agentId === 'b') return true;
        asked.resolve();
        return answer.promise;
      },
    });
    const client = await all.connect();
    await client.ask(to('b'));
    client.send(to('a'), to('b'));
    await asked.promise;
    await all.received(3);
    client.socket[leave]();
    const outcomes = await all.session.closed;
    t.match(outcomes, [{ agentId: 'b', ok: true }]);
    answer.resolve(true);
    await new Promise(setImmediate);
    t.equal(all.session.threads.threadCount, 0, leave);
    t.match(all.relay.stats(), { sessions: 0, threads: 0, pending: 0 });
    await all.relay.close();
    t.strictSame(
      all.agent.requests.map(({ method }) => method),
      ['chat.start', 'chat.end'],
    );
  }
});

t.test('an authentication that ends after the connection has gone opens nothing', async (t) => {
  const asked = deferred<unknown>();
  const told: string[] = [];
  const all = await world(t, {
    attach: {},
    authenticate: () => asked.promise,
    hooks: { onOpen: () => void told.push('open'), onClose: () => void told.push('close') },
  });
  const client = await all.connect();
  client.send(to('a'));
  await all.received(1);
  client.socket.terminate();
  await all.session.closed;
  asked.resolve('me');
  await new Promise(setImmediate);
  t.match(all.relay.stats(), { sessions: 0, threads: 0, pending: 0 });
  // Nothing is on its way to the agent after that.
  await all.relay.close();
  t.strictSame(told, [], 'no hook is called for a connection that was never accepted');
  t.equal(all.agent.counters.requests, 0);
});

/** What keeps a first frame of agent `a` from being sent until it is released. */
const holds: Record<string, (asked: Promise<unknown>) => WorldOptions> = {
  authenticate: (asked) => ({ attach: {}, authenticate: () => asked }),
  authorize: (asked) => ({ authorize: () => asked as Promise<boolean> }),
  route: (asked) => ({ route: () => asked as Promise<string> }),
};
const waysOut: Record<string, (all: World) => unknown> = {
  'relay.close': ({ relay }) => void relay.close(),
  'session.close': ({ session }) => session.close(1001),
};

for (const [holder, options] of Object.entries(holds)) {
  for (const [way, leave] of Object.entries(waysOut)) {
    t.test(`sends that wait for ${holder} get cancelled at ${way}, and that is all [F-46] [F-160]`, async (t) => {
      const asked = deferred<unknown>();
      const all = await world(t, options(asked.promise));
      const client = await all.connect();
      for (const id of [1, 2, 3])
        client.send({ id, message: say('x'), ...(holder === 'route' ? {} : { agent_id: 'a' }) });
      client.send({ type: 'ping' }, 'not JSON');
      await all.received(5);
      leave(all);
      t.equal((await client.closed).code, 1001);
      const frames = await client.all(client.texts.length);
      // What is behind them may still be answered in time.
      const answers = frames.filter(({ id }) => id !== undefined).map(({ type, id }) => [type, id]);
      t.strictSame(answers.sort(), [
        ['cancelled', 1],
        ['cancelled', 2],
        ['cancelled', 3],
      ]);
      asked.resolve(holder === 'route' ? 'a' : true);
      await all.session.closed;
      t.strictSame(client.texts, []);
      t.equal(all.agent.counters.requests, 0);
    });
  }
}

t.test(
  'a send can be cancelled while authorize decides about it, and while it waits behind another [F-16]',
  async (t) => {
    const asked = deferred<boolean>();
    const all = await world(t, { authorize: () => asked.promise });
    const client = await all.connect();
    client.send(to('a', 'x', { id: 1 }), to('a', 'y', { id: 2 }), to('a', 'z', { id: 3 }));
    client.send({ type: 'cancel', id: 1 }, { type: 'cancel', id: 2 });
    t.match(await client.all(2), [
      { type: 'cancelled', id: 1 },
      { type: 'cancelled', id: 2 },
    ]);
    asked.resolve(true);
    t.match(await client.next(), { type: 'response', id: 3 });
    t.equal(all.agent.counters.requests, 1);
  },
);

t.test('a session that authorize keeps waiting is not idle [F-115]', async (t) => {
  const asked = deferred<boolean>();
  const all = await world(t, { authorize: () => asked.promise, idleTimeout: 60, heartbeat: 0 });
  const client = await all.connect();
  client.send(to('a'));
  await all.received(1);
  const { sweeps } = all.relay.sweeper;
  await sweepsOf(all, sweeps + 20);
  t.equal(client.socket.readyState, client.socket.OPEN);
  asked.resolve(true);
  t.equal((await client.next()).type, 'response');
  t.equal((await client.closed).code, 4408);
});

t.test('cancelling a send on which authorize hangs releases the sends behind it', async (t) => {
  const all = await world(t, {
    authorize: (_identity, agentId) => (agentId === 'hung' ? new Promise<boolean>(() => {}) : true),
  });
  const client = await all.connect();
  client.send(to('hung', 'x', { id: 1 }), to('a', 'y', { id: 2 }), { type: 'ping', id: 'p' });
  await all.received(3);
  client.send({ type: 'cancel', id: 1 });
  t.match(await client.all(3), [
    { type: 'cancelled', id: 1 },
    { type: 'pong', id: 'p' },
    { type: 'response', id: 2 },
  ]);
});

t.test('kept messages get cancelled, too, if an earlier message closes the connection', async (t) => {
  const asked = deferred<unknown>();
  const all = await world(t, { attach: {}, authenticate: () => asked.promise, maxBadFrames: 2 });
  const client = await all.connect();
  client.send('bad', 'bad', to('a', 'x', { id: 1 }));
  await all.received(3);
  asked.resolve('me');
  t.equal((await client.closed).code, 4429);
  t.match(await client.all(3), [{ type: 'error' }, { type: 'error' }, { type: 'cancelled', id: 1 }]);
});
