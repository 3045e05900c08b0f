// What PROTOCOL.md demands and no other test is about.
import { createHook } from 'node:async_hooks';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { WebSocket } from 'ws';
import { createRelay } from '../../src/index.js';
import { faults } from '../../src/testing/index.js';
import {
  type Client,
  deferred,
  type Frame,
  type Json,
  maskedText,
  say,
  sweepsOf,
  textOf,
  to,
  type World,
  world,
} from './helpers.js';

/** Two pieces, of which the second follows when it is released. */
function twoPieces(all: World, agentId: string): () => void {
  const { promise, resolve } = deferred();
  all.agent.script({ agentId }, async function* () {
    yield `${agentId} first `;
    await promise;
    yield `${agentId} second`;
  });
  return resolve;
}

t.test(
  'the defaults are those of the document [F-5] [F-7] [F-37] [F-46] [F-73] [F-81] [F-109] [F-110] [F-111] [F-112] [F-113] [F-114] [F-115] [F-116] [F-117] [F-118] [F-155] [F-156] [F-157]',
  async (t) => {
    const { config } = createRelay({ endpoint: 'http://127.0.0.1:1/arc' });
    t.match(config, { heartbeat: 25_000, busy: 'queue', stream: false, drainTimeout: 5000, cleanupTimeout: 5000 });
    t.match(config, { maxFrameBytes: 1_048_576, maxPending: 32, maxThreads: 64, maxBadFrames: 16 });
    t.match(config, { frameRate: Number.POSITIVE_INFINITY, maxSessions: Number.POSITIVE_INFINITY, idleTimeout: 0 });
    t.match(config, { sendTimeout: 60_000, streamIdleTimeout: 60_000, maxBufferedBytes: 1_048_576 });
    t.match(config, { maxFrameDepth: 64, streamTimeout: 0, stalledTimeout: 60_000 });
  },
);

t.test('no subprotocol is needed, and only one that the relay speaks is selected [F-50]', async (t) => {
  const all = await world(t);
  for (const [offered, selected] of [
    ['', ''],
    ['x arc-thread.v1', 'arc-thread.v1'],
  ] as const) {
    const socket = new WebSocket(all.url, offered.split(' ').filter(Boolean));
    t.teardown(() => socket.terminate());
    await once(socket, 'open');
    t.equal(socket.protocol, selected);
    socket.send(JSON.stringify(to('a')));
    const [data] = (await once(socket, 'message')) as [Buffer];
    t.match(JSON.parse(data.toString()), { type: 'response', agent_id: 'a' });
  }
  // ws fails such a connection itself, as browsers do: the handshake was accepted, and selected nothing.
  const socket = new WebSocket(all.url, ['secret-token']);
  await t.rejects(once(socket, 'open'), { message: 'Server sent no subprotocol' });
});

t.test('a relay without the option resume knows none of its frames [F-126] [F-270]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const told: unknown[] = [];
  for (const type of ['resume', 'ack', 'ready', 'no such type']) {
    const { data, ...rest } = await client.ask({ ...to('a', 'x', { id: 1 }), type });
    t.strictSame(rest, { type: 'error', id: 1, agent_id: 'a' });
    told.push(data);
  }
  t.match(told, Array(4).fill({ code: -32_600, message: /^type: / }));
  t.strictSame(new Set(told.map((data) => JSON.stringify(data))).size, 1, 'nothing distinguishes them');
  t.equal(agent.counters.requests, 0);
});

t.test('a frame without a required field is refused [F-15] [F-71] [F-72] [F-78] [F-80]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const lacking: [field: string, frame: Json][] = [
    ['agent_id', { message: say('x') }],
    ['message', { agent_id: 'a' }],
    ['message.role', { agent_id: 'a', message: { parts: [] } }],
    ['message.parts', { agent_id: 'a', message: { role: 'user' } }],
    ['id', { type: 'cancel' }],
    ['agent_id', { type: 'end' }],
  ];
  for (const [field, frame] of lacking) {
    t.match(
      await client.ask(frame),
      { type: 'error', data: { code: -32_600, message: `${field}: is missing` } },
      field,
    );
  }
  t.equal(agent.counters.requests, 0);
  const context = { context_id: 'c', reason: 'r', trace_id: 't', id: 1 };
  for (const [name, value] of Object.entries(context)) {
    t.equal((await client.ask({ type: 'end', agent_id: 'a', [name]: value })).type, 'ended', `${name} may be there`);
  }
  t.match(await client.ask({ type: 'end', agent_id: 'a', reason: 1 }), { type: 'error', data: { code: -32_600 } });
});

t.test('after a cancelled first message the next one starts a new chat [F-18] [F-79]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  client.send(to('a', 'one', { id: 1 }));
  const { chatId } = await gate.arrived;
  t.equal((await client.ask({ type: 'cancel', id: 1 })).type, 'cancelled');
  t.equal(all.session.threads.hasThread('a'), false, 'the thread has ended');
  client.send(to('a', 'two', { id: 2 }));
  await all.agent.waitFor(({ requests }) => requests.filter(({ method }) => method === 'chat.start').length === 2);
  gate.release();
  t.equal(textOf(await client.next()), 'a #1: two');
  t.not(all.session.threads.getThreadId('a'), chatId);
});

t.test('end forgets the thread at once: the next message is answered before ended [F-19] [F-21] [F-82]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  await client.ask(to('a', 'one'));
  const old = agent.requests[0]?.chatId;
  const gate = agent.hold('chat.end');
  client.send({ type: 'end', agent_id: 'a', reason: 'Solved' }, to('a', 'two'));
  t.match(await gate.arrived, { chatId: old, params: { reason: 'Solved' } });
  t.equal(textOf(await client.next()), 'a #1: two');
  t.not(agent.requests.filter(({ method }) => method === 'chat.start')[1]?.chatId, old);
  t.strictSame(await client.rest(), [], 'ended waits for the agent');
  gate.release();
  t.match(await client.next(), { type: 'ended', agent_id: 'a' });
});

t.test('an end that the agent does not confirm within cleanupTimeout is an error frame [F-81]', async (t) => {
  const { agent, connect } = await world(t, { cleanupTimeout: 100, leaks: true });
  const client = await connect();
  await client.ask(to('a'));
  agent.script('chat.end', { ...faults.hang(), times: Number.POSITIVE_INFINITY });
  const { data, ...rest } = await client.ask({ type: 'end', agent_id: 'a', id: 'e' });
  t.strictSame(rest, { type: 'error', id: 'e', agent_id: 'a' });
  t.match(data, { code: -41_006, message: /within \d+ ms$/ });
});

t.test('the frames of two threads may be interleaved [F-35] [F-104]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  const [release, releaseOther] = [twoPieces(all, 'a'), twoPieces(all, 'b')];
  const ids = async (count: number): Promise<unknown[]> => (await client.all(count)).map(({ id }) => id);
  client.send(to('a', 'x', { id: 1, stream: true }));
  t.strictSame(await ids(1), [1]);
  client.send(to('b', 'x', { id: 2, stream: true }));
  t.strictSame(await ids(1), [2]);
  release();
  t.strictSame(await ids(2), [1, 1], 'the rest of the first, in the midst of the second');
  releaseOther();
  t.strictSame(await ids(2), [2, 2]);
});

t.test('ping, cancel and end are answered in their order while sends run and wait [F-36] [F-105]', async (t) => {
  const { agent, connect } = await world(t);
  const client = await connect();
  const gate = agent.hold();
  client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
  await gate.arrived;
  client.send({ type: 'ping', id: 'p' }, { type: 'cancel', id: 2 }, { type: 'ping', id: 'q' });
  client.send({ type: 'end', agent_id: 'b', id: 'e' });
  t.strictSame(
    (await client.all(4)).map(({ type, id }) => [type, id]),
    [
      ['pong', 'p'],
      ['cancelled', 2],
      ['pong', 'q'],
      ['ended', 'e'],
    ],
  );
  gate.release();
  t.match(await client.next(), { type: 'response', id: 1 });
});

t.test('with replies: bare answers have no id, and those of one thread are in order [F-32] [F-33]', async (t) => {
  const { agent, connect } = await world(t, { replies: 'bare' });
  const client = await connect();
  const said = async (): Promise<string> => textOf({ response: JSON.parse(await client.text()) as Json });
  const gate = agent.hold({ agentId: 'a' });
  client.send(to('a', 'one', { id: 1 }), to('b', 'two', { id: 2, context_id: 'c', trace_id: 't' }));
  const text = await client.text();
  const envelope = JSON.parse(text) as Json;
  t.strictSame(
    ['type', 'agent_id', 'context_id', 'trace_id', 'restarted'].filter((field) => field in envelope),
    [],
  );
  t.not(envelope.id, 2, 'the id of the envelope is the one of the request to the agent');
  t.equal(textOf({ response: envelope }), 'b #1: two', 'the answer to the second message is there first');
  gate.release();
  t.equal(await said(), 'a #1: one');
  client.send(to('a', 'two'), to('a', 'three'));
  t.strictSame([await said(), await said()], ['a #2: two', 'a #3: three']);
  agent.forget();
  client.send(to('a', 'four'));
  const restarted = await client.text();
  t.notMatch(restarted, /restarted/);
  t.equal(textOf({ response: JSON.parse(restarted) as Json }), 'a #1: four');
});

t.test('a chat that is being ended counts towards maxThreads, and is no idleness [F-111] [F-115]', async (t) => {
  const all = await world(t, { maxThreads: 1, idleTimeout: 60, heartbeat: 0 });
  const client = await all.connect();
  await client.ask(to('a'));
  const gate = all.agent.hold('chat.end');
  client.send({ type: 'end', agent_id: 'a' });
  await gate.arrived;
  t.match(await client.ask(to('b')), { type: 'error', data: { code: -44_007, message: /being ended/ } });
  await sweepsOf(all, all.relay.sweeper.sweeps + 20);
  t.equal(client.socket.readyState, client.socket.OPEN);
  gate.release();
  t.equal((await client.next()).type, 'ended');
  t.equal((await client.ask(to('b'))).type, 'response');
  t.equal((await client.closed).code, 4408);
});

t.test('a client that does not read for stalledTimeout is closed with 1008 and dropped [F-157] [F-165]', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024, stalledTimeout: 100 });
  const client = await all.connect();
  // The close frame is queued behind the data that the client does not read, so only the server's side can show it.
  const closedWith: unknown[] = [];
  const socket = all.sockets[0] as WebSocket;
  const close = socket.close.bind(socket);
  socket.close = (code, reason) => {
    closedWith.push(code);
    close(code, reason);
  };
  const tcp = (client.socket as unknown as { _socket: Socket })._socket;
  all.agent.script('chat.start', async function* () {
    for (let i = 0; i < 1000; i++) yield 'x'.repeat(65_536);
  });
  tcp.pause();
  client.send(to('a', 'x', { stream: true }));
  await all.session.closed;
  t.strictSame(closedWith, [1008]);
  tcp.resume();
  t.equal((await client.closed).code, 1006);
});

/** Closes a connection in which a send runs and another waits, and gives what the client still got. */
async function pendingAt(all: World, close: (client: Client) => void): Promise<Frame[]> {
  const client = await all.connect();
  const gate = all.agent.hold();
  client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
  await gate.arrived;
  await all.received(2);
  close(client);
  await client.closed;
  gate.release();
  await all.session.closed;
  return client.texts.map((text) => JSON.parse(text) as Frame);
}

t.test('a relay that closes with another code answers pending sends first [F-45]', async (t) => {
  const closings: Record<string, [code: number, close: (all: World, client: Client) => void]> = {
    'a binary frame': [1003, (_all, { socket }) => socket.send(Buffer.from('{}'))],
    'the application': [4000, ({ session }) => session.close(4000)],
    'a bad frame': [4429, (_all, client) => client.send('bad')],
    'the end of the server': [1001, ({ relay }) => void relay.close({ timeout: 0 })],
  };
  for (const [what, [code, close]] of Object.entries(closings)) {
    const all = await world(t, { maxBadFrames: 1 });
    const frames = await pendingAt(all, (client) => close(all, client));
    t.strictSame(
      frames.filter(({ type }) => type === 'cancelled').map(({ id }) => id),
      [1, 2],
      what,
    );
    t.equal((await all.clients[0]?.closed)?.code, code, what);
  }
});

t.test('pending sends get no frame if the connection ends in another way [F-44] [F-149]', async (t) => {
  const notUtf8 = maskedText('xx');
  notUtf8.set([0xc3, 0x28], 6);
  const raw = ({ socket }: Client) => (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket;
  const closings: Record<string, [code: number, close: (all: World, client: Client) => void]> = {
    'a close frame of the client': [1000, (_all, { socket }) => socket.close(1000)],
    'a lost connection': [1006, ({ sockets }) => sockets[0]?.terminate()],
    'a frame that is too large': [1009, (_all, client) => client.send('x'.repeat(2000))],
    'text that is not UTF-8': [1007, (_all, client) => raw(client).write(notUtf8)],
  };
  for (const server of [undefined, { maxPayload: 1024 * 1024 }]) {
    for (const [what, [code, close]] of Object.entries(closings)) {
      const all = await world(t, { maxFrameBytes: 1000, ...(server && { server }) });
      t.strictSame(await pendingAt(all, (client) => close(all, client)), [], what);
      t.equal((await all.clients[0]?.closed)?.code, code, what);
      t.equal(all.relay.stats().pending, 0);
    }
  }
});

t.test('one timer serves all sessions: to attach another makes none [S-7]', async (t) => {
  const all = await world(t, { heartbeat: 60_000, idleTimeout: 60_000, frameRate: 100 });
  const made: number[] = [];
  let timers = 0;
  const hook = createHook({
    init: (_id, type) => {
      if (type === 'Timeout') timers += 1;
    },
  });
  t.teardown(() => hook.disable());
  const { attach } = all.relay;
  all.relay.attach = function counted(...args) {
    timers = 0;
    hook.enable();
    const session = attach.apply(this, args);
    hook.disable();
    made.push(timers);
    return session;
  };
  for (let i = 0; i < 5; i++) t.strictSame(await (await all.connect()).rest(), []);
  t.strictSame(made, [1, 0, 0, 0, 0]);
});
