import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { WebSocket } from 'ws';
import { type ChatOutcome, text } from '../../../src/index.js';
import { faults } from '../../../src/testing/index.js';
import { type Client, maskedText, sweepsOf, textOf, to, world } from '../helpers.js';

/** The ways in which a client goes. */
const LEAVES = {
  'a close frame': (client: Client) => client.socket.close(1000),
  'a dropped connection': (client: Client) => client.socket.terminate(),
};

for (const [way, leave] of Object.entries(LEAVES)) {
  t.test(`${way} ends the chats of the session at once [F-147] [S-5]`, async (t) => {
    const all = await world(t);
    const client = await all.connect();
    for (const agentId of ['a', 'b', 'c']) await client.ask(to(agentId));
    leave(client);
    const outcomes = await all.session.closed;
    t.strictSame(
      outcomes.map(({ agentId, ok }) => [agentId, ok]),
      [
        ['a', true],
        ['b', true],
        ['c', true],
      ],
    );
    t.match(all.agent.counters, { started: 3, ended: 3, open: 0 });
    t.equal(all.agent.requests.at(-1)?.params.reason, 'disconnected');
    t.equal(all.relay.sessions.size, 0);
  });

  for (const createChat of ['at-once', 'when-ready'] as const) {
    t.test(`${way} while a chat.start is in flight leaves no chat (made ${createChat}) [F-148]`, async (t) => {
      const all = await world(t, { agent: { createChat } });
      const client = await all.connect();
      const gate = all.agent.hold('chat.start');
      client.send(to('a', 'x', { stream: true }), to('b', 'x'));
      await all.agent.waitFor(({ counters }) => counters.running === 2);
      leave(client);
      await once(all.sockets[0] as WebSocket, 'close');
      gate.release();
      const outcomes = await all.session.closed;
      t.match(outcomes, [
        { agentId: 'a', ok: true },
        { agentId: 'b', ok: true },
      ]);
      t.match(all.agent.counters, { started: 2, ended: 2, open: 0 });
    });
  }

  t.test(`${way} in mid-stream stops the agent and ends the chat [F-44]`, async (t) => {
    const all = await world(t);
    const client = await all.connect();
    all.agent.script('chat.start', async function* () {
      yield 'the beginning';
      await new Promise(() => {});
    });
    client.send(to('a', 'x', { stream: true }));
    await client.next();
    leave(client);
    await all.agent.waitFor(({ counters }) => counters.aborted === 1);
    await all.session.closed;
    t.match(all.agent.counters, { started: 1, ended: 1, open: 0, running: 0 });
  });

  t.test(`${way} with ten sends waiting: none of them is sent any more [F-44]`, async (t) => {
    const all = await world(t);
    const client = await all.connect();
    await client.ask(to('a'));
    const gate = all.agent.hold('chat.message');
    for (let id = 0; id <= 10; id++) client.send(to('a', `number ${id}`, { id }));
    await all.received(12);
    await gate.arrived;
    leave(client);
    await all.session.closed;
    gate.release();
    t.strictSame(
      all.agent.requests.map(({ method }) => method),
      ['chat.start', 'chat.message', 'chat.end'],
    );
    t.equal(all.relay.stats().pending, 0);
  });
}

t.test('20 first messages at once are one chat.start', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  for (let id = 1; id <= 20; id++) client.send(to('a', `${id}`, { id }));
  const frames = await client.all(20);
  t.strictSame(
    frames.map(textOf),
    frames.map((_, index) => `a #${index + 1}: ${index + 1}`),
  );
  t.match(all.agent.counters, { started: 1, requests: 20 });
});

t.test('20 chats end side by side [F-147]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  for (let id = 1; id <= 20; id++) client.send(to(`a${id}`));
  await client.all(20);
  const gate = all.agent.hold('chat.end');
  client.socket.terminate();
  await all.agent.waitFor(({ counters }) => counters.running === 20);
  gate.release();
  const outcomes: ChatOutcome[] = await all.session.closed;
  t.ok(outcomes.length === 20 && outcomes.every(({ ok }) => ok));
});

t.test('a chat that cannot be ended is logged with its agent and chat [T-16]', async (t) => {
  const all = await world(t, { cleanupTimeout: 100, leaks: true });
  const client = await all.connect();
  await client.ask(to('a'));
  const { chatId } = all.agent.requests[0] ?? {};
  all.agent.script('chat.end', { ...faults.reset(), times: Number.POSITIVE_INFINITY });
  client.socket.terminate();
  t.match(await all.session.closed, [{ agentId: 'a', chatId, ok: false, error: Error }]);
  t.match(await all.log.line('could not be ended'), { level: 'error', about: { agentId: 'a', chatId } });
});

t.test('an end that is under way when the connection drops is waited for', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('a'));
  const gate = all.agent.hold('chat.end');
  client.send({ type: 'end', agent_id: 'a' });
  await gate.arrived;
  client.socket.terminate();
  await once(all.sockets[0] as WebSocket, 'close');
  let isClosed = false;
  const closed = all.session.closed.then(() => (isClosed = true));
  await new Promise(setImmediate);
  t.notOk(isClosed, 'the session is not over before its chat is');
  gate.release();
  await closed;
  t.equal(all.agent.counters.open, 0);
});

t.test('sessions know nothing of each other [F-6] [F-56]', async (t) => {
  const all = await world(t);
  const [one, two] = [await all.connect(), await all.connect()];
  await one.ask(to('a'));
  t.equal(textOf(await two.ask(to('a'))), 'a #1: hello', 'a chat of its own');
  two.send({ type: 'cancel', id: 1 }, { type: 'end', agent_id: 'a' });
  await two.answer();
  two.socket.terminate();
  await all.sessions[1]?.closed;
  t.equal(textOf(await one.ask(to('a'))), 'a #2: hello');
});

t.test('session.close: sends get cancelled, the reason is cut at 123 bytes [F-45] [F-153] [S-13]', async (t) => {
  const reasons: [reason: string, got: string][] = [
    ['', ''],
    ['x'.repeat(123), 'x'.repeat(123)],
    ['x'.repeat(124), 'x'.repeat(123)],
    ['é'.repeat(62), 'é'.repeat(61)],
    ['€'.repeat(50), '€'.repeat(41)],
    [`x${'€'.repeat(50)}`, `x${'€'.repeat(40)}`],
    [`xx${'😀'.repeat(40)}`, `xx${'😀'.repeat(30)}`],
    ['😀'.repeat(31), '😀'.repeat(30)],
  ];
  for (const [index, [reason, got]] of reasons.entries()) {
    const all = await world(t);
    const client = await all.connect();
    const gate = all.agent.hold();
    client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
    await gate.arrived;
    await all.received(2);
    all.session.close(4000 + index, reason);
    t.strictSame(await client.closed, { code: 4000 + index, reason: got });
    t.strictSame(await client.all(2), [
      { type: 'cancelled', id: 1, agent_id: 'a' },
      { type: 'cancelled', id: 2, agent_id: 'a' },
    ]);
    gate.release();
    await all.session.closed;
    t.equal(all.agent.counters.started, 1);
  }
});

t.test('session.close without arguments is 1000, and frames after it are not answered [F-136]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('a'));
  client.send(to('a'), { type: 'ping' }, 'bad');
  all.session.close();
  all.session.close(4000, 'not again');
  t.strictSame(await client.closed, { code: 1000, reason: '' });
  t.strictSame(client.texts, []);
  await all.session.closed;
  t.equal(all.agent.requests.length, 2);
});

t.test('session.close with a code that there is not throws, and leaves neither connection nor chats', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('a'));
  t.throws(() => all.session.close(200), TypeError);
  t.equal((await client.closed).code, 1006);
  t.match(await all.session.closed, [{ agentId: 'a', ok: true }]);
});

t.test('a session has an id, its request and its threads', async (t) => {
  const all = await world(t);
  const [client] = [await all.connect({ headers: { 'x-test': 'yes' } }), await all.connect()];
  await client.ask(to('a'));
  const { id, request, threads, identity } = all.session;
  t.match(id, /^[0-9a-f-]{36}$/);
  t.not(id, all.sessions[1]?.id);
  t.equal(request?.headers['x-test'], 'yes');
  t.equal(threads.getThreadId('a'), all.agent.requests[0]?.chatId);
  t.equal(identity, 'me');
});

t.test('heartbeat: a client that answers pings stays, one that does not is dropped [F-7] [F-57] [S-5]', async (t) => {
  const all = await world(t, { heartbeat: 60 });
  const client = await all.connect();
  let pings = 0;
  const three = new Promise<void>((resolve) => client.socket.on('ping', () => void (++pings === 3 && resolve())));
  await three;
  const { sweeps } = all.relay.sweeper;
  const raw = await all.connectRaw();
  raw.resume();
  raw.write(maskedText(JSON.stringify({ agent_id: 'a', message: { role: 'user', parts: [] } })));
  const dead = all.sessions[1] ?? t.fail('no session');
  await all.agent.waitFor(({ counters }) => counters.open === 1);
  let dropped = Number.NaN;
  all.sockets[1]?.once('close', () => {
    dropped = all.relay.sweeper.sweeps - sweeps;
  });
  await (dead as typeof all.session).closed;
  t.ok(dropped <= 3, `after ${dropped} heartbeats: two, and the one that was running when it came`);
  t.equal(all.agent.counters.open, 0, 'its chat is ended');
  t.match(all.log.at('info'), [{ message: 'a connection was lost', about: { code: 1006 } }]);
  t.equal((await client.ask(to('b'))).type, 'response', 'the other one lives');
});

t.test('heartbeat 0: no pings', async (t) => {
  const all = await world(t, { heartbeat: 0, idleTimeout: 120 });
  const client = await all.connect();
  client.socket.on('ping', () => t.fail('a ping'));
  t.equal((await client.closed).code, 4408);
});

t.test('any frame of the peer shows that it lives [F-57]', async (t) => {
  const all = await world(t, { heartbeat: 50 });
  const raw = await all.connectRaw();
  let pings = 0;
  // It never answers a ping of the WebSocket, but six of them with a frame of its own.
  raw.on('data', (bytes: Buffer) => {
    if (bytes.includes(Buffer.from([0x89, 0x00])) && ++pings <= 6) raw.write(maskedText('{"type":"ping"}'));
  });
  await all.session.closed;
  t.ok(pings >= 6, `${pings} pings: it stayed as long as it spoke`);
});

t.test('a frame that arrives slowly counts as a sign of life [F-57]', async (t) => {
  const all = await world(t, { heartbeat: 50 });
  const raw = await all.connectRaw();
  const frame = [...maskedText('{"type":"ping"}')];
  let pings = 0;
  raw.on('data', (bytes: Buffer) => {
    if (!bytes.includes(Buffer.from([0x89, 0x00]))) return;
    pings += 1;
    if (frame.length > 12) raw.write(Buffer.of(frame.shift() as number));
  });
  await all.session.closed;
  t.ok(pings >= 9, `${pings} pings before it was dropped, which said no more after nine`);
});

t.test('heartbeat: pongs count if the number of bytes received is not known', async (t) => {
  const { relay, server, log } = await world(t, { heartbeat: 200 });
  server.removeAllListeners('connection');
  const closed: Promise<unknown>[] = [];
  server.on('connection', (socket, request) => {
    // As of a request that a test has injected.
    const injected = Object.create(request, { socket: { value: undefined } });
    closed.push(relay.attach(socket, injected, { identity: 'me' }).closed);
  });
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}`);
  let pings = 0;
  await new Promise<void>((resolve) => client.on('ping', () => ++pings === 4 && resolve()));
  const dead = new WebSocket(`ws://127.0.0.1:${port}`, { autoPong: false });
  await once(dead, 'close');
  await closed[1];
  t.equal(client.readyState, WebSocket.OPEN);
  t.match(log.at('info'), [{ message: 'a connection was lost', about: { code: 1006 } }]);
});

t.test('idleTimeout closes with 4408, and not before its time [F-115] [F-145] [S-5]', async (t) => {
  const all = await world(t, { idleTimeout: 200, heartbeat: 0 });
  const client = await all.connect();
  t.match(await client.ask(to('a')), { type: 'response' });
  const { sweeps } = all.relay.sweeper;
  const before = performance.now();
  t.strictSame(await client.rest(), []);
  const { code, reason } = await client.closed;
  const after = performance.now() - before;
  t.strictSame([code, reason], [4408, 'Idle for too long']);
  // A quarter of that time is between two sweeps, and the last frame may have come just before the first that is counted.
  t.ok(all.relay.sweeper.sweeps - sweeps >= 5, `after ${all.relay.sweeper.sweeps - sweeps} sweeps`);
  t.ok(after >= 195, `after ${after} ms`);
  await all.session.closed;
  t.equal(all.agent.counters.open, 0);
});

t.test('maxSessionAge ends a session with 4401, whatever it does [F-443] [F-143]', async (t) => {
  const all = await world(t, { maxSessionAge: 500 });
  all.agent.script({ agentId: 'a' }, async function* () {
    yield 'one';
    await new Promise(() => {});
  });
  const client = await all.connect();
  client.send(to('a', 'x', { id: 1, stream: true }));
  t.match(await client.next(), { type: 'content', id: 1 });
  t.match(await client.next(), { type: 'cancelled', id: 1 });
  t.strictSame(await client.closed, { code: 4401, reason: 'The session has expired' });
  await all.session.closed;
  t.equal(all.agent.counters.open, 0);
});

t.test('a client that resumes was authenticated again, and has maxSessionAge again [F-443]', async (t) => {
  const all = await world(t, { maxSessionAge: 500, resume: true });
  const first = await all.connect();
  first.send({ type: 'resume' });
  const { session } = await first.next();
  t.match(await first.ask(to('a', 'x', { id: 1 })), { type: 'response' });
  const clock = await all.connect();
  first.socket.terminate();
  t.equal((await clock.closed).code, 4401);
  const second = await all.connect();
  second.send({ type: 'resume', session, seq: 1, sent: 1 });
  t.match(await second.next(), { type: 'ready', resumed: true });
  t.match(await second.ask(to('a', 'x', { id: 2 })), { type: 'response' });
  t.equal((await second.closed).code, 4401);
  await all.session.closed;
  t.equal(all.agent.counters.open, 0);
});

t.test('pings and pongs of the WebSocket are no activity', async (t) => {
  const all = await world(t, { idleTimeout: 150, heartbeat: 20 });
  const client = await all.connect();
  let pings = 0;
  client.socket.on('ping', () => ++pings);
  t.equal((await client.closed).code, 4408);
  t.ok(pings >= 5, `${pings} pings`);
});

t.test('frames of the client, and frames to it, put the idle timeout off [F-115]', async (t) => {
  const all = await world(t, { idleTimeout: 150 });
  const client = await all.connect();
  // It would be closed at the fifth sweep.
  for (let sweep = 2; sweep <= 12; sweep += 2) {
    await sweepsOf(all, sweep);
    client.send({ type: 'cancel', id: 'none' });
  }
  t.equal(client.socket.readyState, WebSocket.OPEN);
  t.equal((await client.closed).code, 4408);
});

t.test('a send that runs is activity, however long the agent thinks [F-115]', async (t) => {
  const all = await world(t, { idleTimeout: 80 });
  const client = await all.connect();
  all.agent.script('chat.start', { reply: 'at last', delay: 400 });
  t.equal(textOf(await client.ask(to('a'))), 'at last');
  t.equal((await client.closed).code, 4408);
});

for (const had of ['threads', 'none'] as const) {
  t.test(
    `what the application sends in a session that has ended, and had ${had}, starts no chat [S-154]`,
    async (t) => {
      const all = await world(t);
      const client = await all.connect();
      if (had === 'threads') await client.ask(to('support'));
      const { session } = all;
      client.socket.close(1000);
      await session.closed;
      const sending = session.threads.sendToAgent({ agentId: 'support', message: text('too late') });
      await t.rejects(sending, { name: 'AbortError' });
      t.equal(all.agent.counters.open, 0);
    },
  );
}

t.test('what the application sends while the chats of a session are being ended starts no chat [S-154]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('support'));
  const { session } = all;
  const gate = all.agent.hold('chat.end');
  client.socket.close(1000);
  await gate.arrived;
  const sending = session.threads.sendToAgent({ agentId: 'support', message: text('too late') });
  await t.rejects(sending, { name: 'AbortError' });
  gate.release();
  await session.closed;
  t.match(all.agent.counters, { started: 1, open: 0 });
});

t.test('one timer looks after all sessions, and none is left when they are gone [S-8]', async (t) => {
  const all = await world(t, { heartbeat: 40 });
  const clock = await world(t, { heartbeat: 40 });
  await clock.connect();
  for (const round of [1, 2]) {
    const clients: Client[] = [];
    for (let i = 0; i < 5; i++) clients.push(await all.connect());
    await Promise.all(clients.map(({ socket }) => once(socket, 'ping')));
    for (const { socket } of clients) socket.close();
    await Promise.all(all.sessions.map(({ closed }) => closed));
    const { sweeps } = all.relay.sweeper;
    await sweepsOf(clock, clock.relay.sweeper.sweeps + 3);
    t.equal(all.relay.sweeper.sweeps, sweeps, `round ${round}`);
  }
});

t.test('frameRate: more frames within a second are -44007, and too many of them 4429 [F-112]', async (t) => {
  const all = await world(t, { frameRate: 2, maxBadFrames: 3 });
  const client = await all.connect();
  client.send(
    { type: 'ping', id: 1 },
    { type: 'ping', id: 2 },
    to('a', 'x', { id: 3 }),
    { type: 'ping', id: 4 },
    { type: 'cancel', id: 5 },
    { type: 'ping', id: 6 },
  );
  t.equal((await client.closed).code, 4429);
  const tooMany = { code: -44_007, message: 'Too many frames a second' };
  t.match(
    client.texts.map((text) => JSON.parse(text)),
    [
      { type: 'pong', id: 1 },
      { type: 'pong', id: 2 },
      { type: 'error', id: 3, agent_id: 'a', data: tooMany },
      { type: 'error', id: 4, data: tooMany },
      { type: 'error', id: 5, data: tooMany },
    ],
  );
  t.equal(client.texts.length, 5);
});

t.test('ends that are under way count towards maxPending [F-110]', async (t) => {
  const all = await world(t, { maxPending: 2 });
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  client.send(to('a'), to('b'));
  await all.agent.waitFor(({ counters }) => counters.running === 2);
  client.send({ type: 'end', agent_id: 'a' }, { type: 'end', agent_id: 'b' }, to('c', 'x', { id: 'c' }));
  const frames = await client.all(3);
  t.match(
    frames.find(({ id }) => id === 'c'),
    { type: 'error', data: { code: -44_007 } },
  );
  gate.release();
  await client.all(2);
  t.equal((await client.ask(to('d'))).type, 'response');
});
