import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { connect } from 'node:tls';
import t from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { ArcClient, createRelay, type SendSummary, type Session } from '../../src/index.js';
import { faults, startTestAgent } from '../../src/testing/index.js';
import { type Client, deferred, type Frame, maskedText, say, to, until, withDeadline, world } from './helpers.js';

interface Handle {
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
}

/** Bytes that were given to the operating system, and that it has not accepted. */
const waiting = (handle: Handle | null): number => handle?.writeQueueSize ?? 0;

const tcpOf = (client: Client): Socket => (client.socket as unknown as { _socket: Socket })._socket;

/** A server of ws that never drops a client, as it otherwise does 30 seconds after the close frame. Its types do not have this. */
const PATIENT: object = { closeTimeout: 3_600_000 };

/** So many arrays in one another. */
const nest = (levels: number): unknown => (levels === 0 ? 'core' : [nest(levels - 1)]);

t.test('maxFrameDepth: so many levels are let through, one more is -32600 [F-155]', async (t) => {
  const all = await world(t, { maxFrameDepth: 8 });
  const client = await all.connect();
  // The frame, its message, the parts, a part: four levels are there before the content's.
  const part = (levels: number) => ({ message: { role: 'user', parts: [{ type: 'data', content: nest(levels) }] } });
  t.equal((await client.ask(to('a', '', part(4)))).type, 'response');
  t.match(await client.ask(to('a', '', { id: 1, ...part(5) })), {
    type: 'error',
    id: 1,
    data: { code: -32_600, message: 'message: the frame is nested more than 8 levels deep' },
  });
  t.equal((await client.ask(to('a', '', { metadata: { m: nest(6) } }))).type, 'response');
  t.match(await client.ask(to('a', '', { metadata: { m: nest(7) } })), {
    data: { code: -32_600, message: /^metadata: / },
  });
  t.equal((await client.ask(to('a', '', { unknown: nest(100) }))).type, 'response', 'what is ignored is not counted');
  t.equal(all.agent.counters.requests, 3);
});

t.test('frameRate is a token bucket: a burst may use all tokens, and no more [F-112]', async (t) => {
  const all = await world(t, { frameRate: 20, maxBadFrames: 1000 });
  const client = await all.connect();
  const pongs = async (count: number): Promise<number> => {
    for (let i = 0; i < count; i++) client.send({ type: 'ping' });
    return (await client.all(count)).filter(({ type }) => type === 'pong').length;
  };
  const first = performance.now();
  const rejectPromise = await pongs(40);
  // The bucket was full, and was refilled for as long as that took.
  t.ok(
    rejectPromise >= 20 && rejectPromise <= 20 + Math.ceil((performance.now() - first) / 50),
    `${rejectPromise} of 40 at once`,
  );
  let trickle = 0;
  for (const start = performance.now(); trickle === 0 && performance.now() - start < 5000; ) trickle += await pongs(1);
  t.equal(trickle, 1, 'a twentieth of a second later there is one more, not after a whole second');
});

t.test('starting and cancelling on and on is held up by maxPending [F-110]', async (t) => {
  const all = await world(t, { maxPending: 4, agent: { createChat: 'when-ready' }, cleanupTimeout: 1000 });
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  const frames: Frame[] = [];
  for (let id = 0; id < 10; id++) {
    const before = all.agent.requests.filter(({ method }) => method === 'chat.start').length;
    client.send(to('a', 'x', { id, context_id: `c${id}` }));
    await client.rest().then((rest) => frames.push(...rest));
    if (frames.some((frame) => frame.id === id)) continue;
    await all.agent.waitFor(({ requests }) => requests.filter(({ method }) => method === 'chat.start').length > before);
    client.send({ type: 'cancel', id });
    frames.push(await client.next());
  }
  gate.release();
  const types = frames.map(({ type, data }) => (type === 'error' ? (data as { code: number }).code : type));
  t.strictSame(types, [...Array(4).fill('cancelled'), ...Array(6).fill(-44_007)]);
  t.equal(all.session.threads.endingCount, 4);
});

t.test('interrupting on and on is held up by maxPending, too', async (t) => {
  const all = await world(t, { busy: 'interrupt', maxPending: 3, cleanupTimeout: 2000 });
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  for (let id = 0; id < 6; id++) {
    client.send(to('a', 'x', { id }));
    await client.rest();
    await all.agent.waitFor(({ counters }) => counters.running > 0);
  }
  t.ok(all.session.threads.endingCount + all.session.pending <= 3);
  gate.release();
});

t.test('[F-534] [F-535] a connection that is closed has its place until the relay drops its silent peer', async (t) => {
  const all = await world(t, { maxSessions: 1, server: PATIENT });
  const silent = await all.connectRaw();
  all.session.close(1000);
  const early = await all.connect();
  t.match(await early.closed, { code: 1013 });
  await withDeadline(all.session.closed, 'the end of the connection');
  const client = await all.connect();
  t.equal((await client.ask(to('a'))).type, 'response');
  const late = await all.connect();
  t.match(await late.closed, { code: 1013 });
  silent.destroy();
});

t.test('[F-535] a client that still reads what was written before the close frame is not dropped', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024, server: PATIENT });
  const [slow, silent] = [await all.connect(), await all.connectRaw()];
  all.agent.script({ agentId: 'a' }, async function* () {
    for (let i = 0; i < 1000; i++) yield 'x'.repeat(65_536);
  });
  tcpOf(slow).pause();
  slow.send(to('a', 'x', { stream: true }));
  await until(() => (all.sockets[0] as WebSocket).bufferedAmount > 64 * 1024, 'frames that wait for the client');
  const [first, second] = all.sessions as [Session, Session];
  let isOpen = true;
  void first.closed.then(() => {
    isOpen = false;
  });
  // The one with the later time-out is dropped, so the time-out of the other one is over.
  first.close(4321);
  second.close(4321);
  await withDeadline(second.closed, 'the end of the silent connection');
  t.ok(isOpen);
  tcpOf(slow).resume();
  t.equal((await slow.answer()).at(-1)?.type, 'cancelled');
  t.match(await slow.closed, { code: 4321 });
  silent.destroy();
});

t.test('[F-535] a client that says something after the close frame is dropped once it is silent', async (t) => {
  const all = await world(t, { server: PATIENT });
  const [talking, silent] = [await all.connectRaw(), await all.connectRaw()];
  const [first, second] = all.sessions as [Session, Session];
  let isOpen = true;
  void first.closed.then(() => {
    isOpen = false;
  });
  const timer = setInterval(() => talking.write(maskedText('{"type":"ping"}')), 100);
  t.teardown(() => clearInterval(timer));
  // The one with the later time-out is dropped, so the time-out of the other one is over.
  first.close(4321);
  second.close(4321);
  await withDeadline(second.closed, 'the end of the silent connection');
  t.ok(isOpen);
  clearInterval(timer);
  await withDeadline(first.closed, 'the end of the other one');
  talking.destroy();
  silent.destroy();
});

t.test('[F-534] a connection that authenticate refuses after the upgrade holds no slot', async (t) => {
  const authenticate = async ({ headers }: IncomingMessage) => headers.user;
  const all = await world(t, { maxSessions: 1, attach: {}, authenticate });
  const refused = await all.connectRaw();
  await until(() => all.relay.stats().refused.authentication === 1, 'the refusal');
  const next = await all.connect({ headers: { user: 'ann' } });
  t.equal((await next.ask(to('a'))).type, 'response');
  refused.destroy();
});

t.test('[F-534] connections that are refused because of maxSessions hold no slot', async (t) => {
  const all = await world(t, { maxSessions: 1 });
  const client = await all.connect();
  const refused = [await all.connectRaw(), await all.connectRaw()];
  client.socket.close();
  await all.session.closed;
  const next = await all.connect();
  t.equal((await next.ask(to('a'))).type, 'response');
  for (const socket of refused) socket.destroy();
});

t.test('[F-547] with onDisconnect finish a connection counts until its sends have ended', async (t) => {
  const all = await world(t, { maxSessions: 2, onDisconnect: 'finish' });
  const gate = all.agent.hold('chat.start');
  for (let count = 0; count < 2; count++) {
    const client = await all.connect();
    client.send(to(`a${count}`));
    await all.agent.waitFor(({ counters }) => counters.running === count + 1);
    if (count === 0) client.socket.terminate();
    else client.socket.close();
    await once(all.sockets[count] as never, 'close');
  }
  const refused = await all.connect();
  const closing = await withDeadline(refused.closed, 'the refusal', 5000).catch(String);
  const isRefused = t.match(closing, { code: 1013 });
  gate.release();
  if (!isRefused) return;
  await Promise.all(all.sessions.map(({ closed }) => closed));
  const [first, second] = [await all.connect(), await all.connect()];
  for (const client of [first, second]) t.equal((await client.ask(to('a'))).type, 'response');
});

t.test('stalledTimeout: a client that does not read is closed, and its chats are ended', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024, stalledTimeout: 100 });
  const [slow, other] = [await all.connect(), await all.connect()];
  all.agent.script({ agentId: 'a' }, async function* () {
    for (let i = 0; i < 1000; i++) yield 'x'.repeat(65_536);
  });
  tcpOf(slow).pause();
  slow.send(to('a', 'x', { stream: true }));
  await all.session.closed;
  t.match(all.agent.counters, { open: 0, running: 0 });
  t.equal((await other.ask(to('a'))).type, 'response');
});

t.test(
  'stalledTimeout: a client is not closed while it reads, and less than the limit waits for it [F-157]',
  async (t) => {
    const maxBufferedBytes = 64 * 1024 * 1024;
    const all = await world(t, { maxBufferedBytes, stalledTimeout: 1500, heartbeat: 0 });
    const [client, other] = [await all.connectRaw(), await all.connect()];
    all.agent.script({ agentId: 'a' }, async function* () {
      for (let i = 0; i < 200; i++) yield 'x'.repeat(1_000_000);
    });
    client.write(maskedText('{"agent_id":"a","stream":true,"message":{"role":"user","parts":[]}}'));
    client.pause();
    client.on('readable', () => {});
    const [session] = all.sessions as [Session];
    const socket = all.sockets[0] as WebSocket & { _socket: Socket & { _handle: Handle | null } };
    const accepted = (): number => (socket._socket._handle?.bytesWritten ?? 0) - waiting(socket._socket._handle);
    const left = (): number => socket._socket.bytesWritten - accepted();
    const isOpen = (): boolean => socket.readyState === socket.OPEN;
    await until(() => socket.bufferedAmount > maxBufferedBytes, 'more than the limit waits');
    const read = async (isEnough: () => boolean): Promise<void> => {
      while (!isEnough() && isOpen()) {
        client.read();
        await setImmediate();
      }
    };
    await read(() => left() < maxBufferedBytes / 2);
    for (let count = 0; count < 8 && isOpen(); count++) {
      const before = accepted();
      await read(() => accepted() > before);
      await setTimeout(300);
    }
    t.ok(isOpen());
    t.ok(left() > 0, `${left()} bytes wait`);
    // It stops.
    await withDeadline(session.closed, 'the end of the connection');
    t.equal((await other.ask(to('b'))).type, 'response');
    client.destroy();
  },
);

t.test('stalledTimeout: a client that reads in the end is not closed', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024, stalledTimeout: 60_000 });
  const client = await all.connect();
  all.agent.script({ agentId: 'a' }, async function* () {
    for (let i = 0; i < 200; i++) yield 'x'.repeat(65_536);
  });
  tcpOf(client).pause();
  client.send(to('a', 'x', { stream: true }));
  await all.agent.waitFor(({ counters }) => counters.running === 1);
  tcpOf(client).resume();
  t.equal((await client.answer()).at(-1)?.type, 'done');
});

t.test('onDisconnect: cancel stops the agents, finish lets them answer first [F-44] [F-159]', async (t) => {
  for (const onDisconnect of ['cancel', 'finish'] as const) {
    const told: SendSummary[] = [];
    const all = await world(t, { onDisconnect, hooks: { onSend: (_session, send) => void told.push(send) } });
    const client = await all.connect();
    const gate = all.agent.hold('chat.start');
    client.send(to('a', 'first', { id: 1 }), to('a', 'second', { id: 2 }));
    await gate.arrived;
    client.socket.terminate();
    await once(all.sockets[0] as never, 'close');
    gate.release();
    await all.session.closed;
    await all.agent.waitFor('idle');
    const methods = all.agent.requests.map(({ method }) => method);
    t.match(all.agent.counters, { open: 0, started: 1, ended: 1 });
    const isFinished = onDisconnect === 'finish';
    t.strictSame(methods, isFinished ? ['chat.start', 'chat.message', 'chat.end'] : ['chat.start', 'chat.end']);
    t.strictSame(
      told.map(({ id, state }) => [id, state]),
      [1, 2].map((id) => [id, isFinished ? 'response' : 'cancelled']),
    );
  }
});

t.test(
  'onDisconnect finish: a stream that its reader had stopped continues, and relay.close does not wait for ever',
  async (t) => {
    const all = await world(t, { onDisconnect: 'finish', maxBufferedBytes: 64 * 1024, drainTimeout: 50 });
    const client = await all.connect();
    let given = 0;
    all.agent.script({ agentId: 'a' }, async function* () {
      for (; given < 300; given++) yield 'x'.repeat(65_536);
    });
    all.agent.script({ agentId: 'b' }, faults.stall({ data: 'so far' }));
    tcpOf(client).pause();
    client.send(to('a', 'x', { id: 1, stream: true }));
    await all.agent.waitFor(({ counters }) => counters.running === 1);
    client.send(to('b', 'x', { id: 2, stream: true }));
    client.socket.terminate();
    await all.agent.waitFor(() => given === 300);
    const closed = await all.relay.close();
    t.match(closed, { failed: 0 });
    t.match(all.agent.counters, { open: 0, running: 0 });
  },
);

t.test('stats count sends, chats started, ended and orphaned, and bytes', async (t) => {
  const all = await world(t, { cleanupTimeout: 300, leaks: true });
  const { agent, relay } = all;
  const client = await all.connect();
  await client.ask(to('a', 'one'));
  agent.script('chat.message', { error: { code: -43_001, message: 'Chat not found' } });
  await client.ask(to('a', 'two'));
  await client.ask(to('b', 'three', { stream: true }));
  agent.script('chat.message', { error: { code: -1, message: 'No' } });
  await client.ask(to('b', 'four'));
  const gate = agent.hold('chat.message');
  client.send(to('a', 'five', { id: 5 }), to('a', 'six', { id: 6 }));
  await gate.arrived;
  t.match(relay.stats(), { sessions: 1, threads: 2, pending: 2, waiting: 1 });
  client.send({ type: 'cancel', id: 6 }, { type: 'cancel', id: 5 });
  await client.all(2);
  gate.release();
  agent.script({ method: 'chat.end', agentId: 'b' }, { ...faults.empty(500), times: 100 });
  const before = relay.stats();
  client.socket.close();
  await all.session.closed;
  const { failedEnds, bytes, ...stats } = relay.stats();
  t.match(stats, {
    sessions: 0,
    threads: 0,
    pending: 0,
    waiting: 0,
    sends: { response: 2, done: 1, error: 1, cancelled: 2 },
    started: 3,
    restarted: 1,
    ended: 1,
    unconfirmed: 0,
    orphans: 1,
  });
  const tries = agent.requests.filter(({ method, agentId }) => method === 'chat.end' && agentId === 'b').length;
  t.equal(failedEnds, tries);
  t.match(all.log.at('error'), [{ about: { agentId: 'b', chatId: String } }]);
  t.ok(bytes.received >= before.bytes.received && bytes.sent >= before.bytes.sent && before.bytes.sent > 500);
});

t.test('hooks.onSend gets each send once, with details that the client does not get', async (t) => {
  const told: SendSummary[] = [];
  const all = await world(t, { hooks: { onSend: (session, send) => void told.push({ ...send, ...{ session } }) } });
  const client = await all.connect();
  await client.ask(to('a', 'one', { id: 1 }));
  all.agent.script('chat.message', { error: { code: -32_603, message: 'Broken', details: 'secret' } });
  await client.ask({ id: 2, agent_id: 'a', message: say('x') });
  t.match(told, [
    { session: all.session, id: 1, agentId: 'a', state: 'response', restarted: false, error: undefined },
    { session: all.session, id: 2, agentId: 'a', state: 'error', error: { code: -32_603, details: 'secret' } },
  ]);
  t.equal(told.length, 2);
});

t.test('relay.close counts the chats of starts that were cancelled before', async (t) => {
  const all = await world(t, { agent: { createChat: 'when-ready', ignoreAbort: true } });
  const client = await all.connect();
  const gate = all.agent.hold('chat.start');
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  client.send({ type: 'cancel', id: 1 });
  await client.next();
  const closing = all.relay.close();
  gate.release();
  t.strictSame(await closing, { sessions: 1, ended: 1, failed: 0 });
});

t.test('a start that was cut off, and whose chat the agent never created, is unconfirmed, and logged', async (t) => {
  const never = deferred<string>();
  const all = await world(t, { agent: { createChat: 'when-ready' }, cleanupTimeout: 200 });
  const client = await all.connect();
  all.agent.script('chat.start', () => never.promise);
  client.send(to('a', 'x', { id: 1 }));
  await all.agent.waitFor(({ counters }) => counters.running === 1);
  client.send({ type: 'cancel', id: 1 });
  const line = await all.log.line('unconfirmed chat');
  t.match(line, { level: 'info', about: { agentId: 'a', chatId: String } });
  t.match(all.relay.stats(), { unconfirmed: 1, ended: 0, orphans: 0 });
  never.resolve('too late');
});

t.test('streamTimeout bounds a whole stream, though it never stalls [F-131] [F-156]', async (t) => {
  const all = await world(t, { streamTimeout: 200 });
  const client = await all.connect();
  all.agent.script('chat.start', async function* ({ signal }) {
    for (;;) {
      yield 'and on ';
      await setTimeout(20, undefined, { signal });
    }
  });
  client.send(to('a', 'x', { stream: true }));
  const frames = await client.answer();
  t.ok(frames.length > 1);
  t.match(frames.at(-1), { type: 'error', data: { code: -43_104, message: /200 ms in all/ } });
  await all.agent.waitFor(({ counters }) => counters.aborted === 1);
});

t.test('stats tells of an endpoint that fails again and again, and of its recovery', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const client = new ArcClient({ endpoint: agent.endpoint, breaker: { failures: 2, pause: 50 } });
  t.teardown(() => client.close());
  const all = await world(t, { client });
  const [address] = agent.endpoint.split('?');
  const [socket, other] = [await all.connect(), await all.connect()];
  for (const each of [socket, other]) await each.ask(to('a'));
  t.strictSame(all.relay.stats().breakers, [{ address, state: 'closed', failures: 0 }]);
  agent.script('chat.message', { ...faults.html(502), times: 2 });
  for (const each of [socket, other]) t.match(await each.ask(to('a')), { type: 'error', data: { code: -41_003 } });
  t.match(all.relay.stats().breakers, [{ failures: 2, state: /^(open|half-open)$/ }]);
  let last: Frame;
  do last = await socket.ask(to('a'));
  while (last.type === 'error');
  t.equal(last.type, 'response');
  t.match(all.relay.stats().breakers, [{ failures: 0, state: 'closed' }]);
});

t.test(
  'a client that does not read, and keeps sending and cancelling, is closed before much waits for it [F-162]',
  async (t) => {
    const all = await world(t, { maxBufferedBytes: 64 * 1024, heartbeat: 0 });
    const client = await all.connect();
    all.agent.script({ agentId: 'a' }, async function* () {
      for (let i = 0; i < 200; i++) yield 'x'.repeat(65_536);
    });
    tcpOf(client).pause();
    client.send(to('a', 'x', { stream: true }));
    const socket = all.sockets[0] as WebSocket;
    while (socket.bufferedAmount < 64 * 1024) await setTimeout(5);
    const before = socket.bufferedAmount;
    const trace_id = 'p'.repeat(250);
    let most = 0;
    socket.on('message', () => {
      most = Math.max(most, socket.bufferedAmount);
    });
    for (let id = 0; id < 2000; id++) client.send(to('a', 'x', { id, trace_id }), { type: 'cancel', id });
    await Promise.race([all.received(4001), all.session.closed]);
    t.ok(most - before < 64 * 1024, `${most - before} bytes more wait`);
    tcpOf(client).resume();
    t.equal((await client.closed).code, 4429);
  },
);

t.test('hooks.onSend may close the session: the send has its last frame', async (t) => {
  const all = await world(t, { hooks: { onSend: (session) => session.close(1000) } });
  const client = await all.connect();
  client.send(to('a', 'x', { id: 1 }));
  t.equal((await client.closed).code, 1000);
  t.match(await client.all(1), [{ type: 'response', id: 1 }]);
});

t.test('heartbeat: a client that slowly reads what was sent before the ping is not dropped [F-161]', async (t) => {
  const all = await world(t, { heartbeat: 700 });
  const size = 5_000_000;
  all.agent.script({ agentId: 'a' }, { reply: 'x'.repeat(size), times: 6 });
  const client = await all.connectRaw();
  const question = maskedText(JSON.stringify({ agent_id: 'a', message: { role: 'user', parts: [] } }));
  client.write(Buffer.concat(Array<Buffer>(6).fill(question)));
  client.pause();
  client.on('readable', () => {});
  const socket = all.sockets[0] as WebSocket & { _socket: { _handle: { writeQueueSize: number } | null } };
  const waiting = (): number => (socket._socket._handle?.writeQueueSize ?? 0) + socket.bufferedAmount;
  const events = new EventEmitter();
  socket.on('close', () => events.emit('ping'));
  socket.ping = () => {
    WebSocket.prototype.ping.call(socket);
    events.emit('ping');
  };
  while (waiting() === 0) await setImmediate();
  // It reads as little as the kernel lets the relay notice, and never answers a ping.
  for (let count = 0; count < 3; count++) {
    await once(events, 'ping');
    const before = waiting();
    t.ok(before > 0, `${before} bytes wait`);
    while (waiting() >= before && socket.readyState === socket.OPEN) {
      client.read();
      await setImmediate();
    }
  }
  await once(events, 'ping');
  t.equal(socket.readyState, socket.OPEN);
  client.destroy();
});

t.test('heartbeat: a client that reads more slowly than its agent writes is not dropped [F-161]', async (t) => {
  const all = await world(t, { heartbeat: 0, maxBufferedBytes: 1024 ** 3 });
  const size = 5_000_000;
  let more = deferred();
  all.agent.script({ agentId: 'a' }, async function* () {
    for (let count = 0; count < 100; count++) {
      yield 'x'.repeat(size);
      // The kernel may take 36 MB.
      if (count < 14) continue;
      await more.promise;
      more = deferred();
    }
  });
  const client = await all.connectRaw();
  client.write(maskedText('{"agent_id":"a","stream":true,"message":{"role":"user","parts":[]}}'));
  client.pause();
  client.on('readable', () => {});
  const socket = all.sockets[0] as WebSocket & { _socket: Socket & { _handle: Handle | null } };
  const accepted = (): number => (socket._socket._handle?.bytesWritten ?? 0) - waiting(socket._socket._handle);
  const backlog = (): number => waiting(socket._socket._handle) + socket.bufferedAmount;
  // As at each heartbeat.
  const { connection } = all.session as unknown as { connection: { sweep(pings: boolean, idleSweeps: number): void } };
  const beat = (): void => connection.sweep(true, 0);
  while (socket._socket.bytesWritten < 14 * size) await setImmediate();
  for (let count = 0; count < 4; count++) {
    beat();
    t.equal(socket.readyState, socket.OPEN, 'it reads, although it never answers a ping');
    const [before, read] = [backlog(), accepted()];
    t.ok(before > 0, `${before} bytes wait`);
    while (count < 3 && accepted() <= read) {
      client.read();
      await setImmediate();
    }
    while (backlog() <= before) {
      more.resolve();
      await setImmediate();
    }
  }
  beat();
  t.not(socket.readyState, socket.OPEN, 'it does not read any more');
  client.destroy();
});

t.test('heartbeat: a client that reads slowly over TLS is not dropped [F-161]', async (t) => {
  const agent = await startTestAgent();
  agent.script({ agentId: 'a' }, async function* () {
    for (let count = 0; count < 14; count++) yield 'x'.repeat(5_000_000);
    await new Promise(() => {});
  });
  const relay = createRelay({ endpoint: agent.endpoint, heartbeat: 0, maxBufferedBytes: 1024 ** 3 });
  const [key, cert] = ['key', 'cert'].map((name) =>
    readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url)),
  );
  const server = createServer({ key, cert }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets = new WebSocketServer({ server, ...relay.wsOptions });
  const client = connect({ port: (server.address() as AddressInfo).port, rejectUnauthorized: false });
  client.on('error', () => {});
  t.teardown(async () => {
    client.destroy();
    await relay.close({ timeout: 0 });
    server.close();
    await agent.close();
  });
  const upgrade = 'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13';
  client.write(`${upgrade}\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
  const [socket, request] = (await once(sockets, 'connection')) as [WebSocket, IncomingMessage];
  const session = relay.attach(socket, request, { identity: 'me' });
  client.write(maskedText('{"agent_id":"a","stream":true,"message":{"role":"user","parts":[]}}'));
  client.pause();
  client.on('readable', () => {});
  const { _handle: handle } = request.socket as unknown as { _handle: { _parent: Handle } };
  const accepted = (): number => handle._parent.bytesWritten - waiting(handle._parent);
  const { connection } = session as unknown as { connection: { sweep(pings: boolean, idleSweeps: number): void } };
  await until(() => request.socket.bytesWritten > 70_000_000, 'the whole answer is written');
  for (let count = 0; count < 3; count++) {
    connection.sweep(true, 0);
    if (!t.equal(socket.readyState, socket.OPEN, 'it reads, although it never answers a ping')) return;
    for (const read = accepted(); accepted() <= read; await setImmediate()) client.read();
  }
  connection.sweep(true, 0);
  t.equal(socket.readyState, socket.OPEN);
  connection.sweep(true, 0);
  t.not(socket.readyState, socket.OPEN, 'it does not read any more');
});

t.test('heartbeat: a client that reads nothing of what waits for it is dropped within two intervals', async (t) => {
  const all = await world(t, { heartbeat: 200, maxBufferedBytes: 64 * 1024 });
  const client = await all.connect();
  all.agent.script({ agentId: 'a' }, async function* () {
    for (let i = 0; i < 400; i++) yield 'x'.repeat(65_536);
  });
  tcpOf(client).pause();
  client.send(to('a', 'x', { stream: true }));
  await all.session.closed;
  t.match(all.agent.counters, { open: 0, running: 0 });
});

t.test(
  'chats that are being ended hold up what would be too much, and do not count as bad frames [F-163]',
  async (t) => {
    const all = await world(t, {
      maxPending: 2,
      maxBadFrames: 3,
      agent: { createChat: 'when-ready' },
      cleanupTimeout: 1000,
    });
    const client = await all.connect();
    const gate = all.agent.hold('chat.start');
    client.send(to('a', 'x', { id: 1 }), to('b', 'x', { id: 2 }));
    await all.agent.waitFor(({ counters }) => counters.running === 2);
    client.send({ type: 'cancel', id: 1 }, { type: 'cancel', id: 2 });
    await client.all(2);
    for (let id = 3; id < 10; id++) t.match(await client.ask(to('c', 'x', { id })), { id, data: { code: -44_007 } });
    gate.release();
    let last: Frame;
    do last = await client.ask(to('c'));
    while (last.type === 'error');
    t.equal(last.type, 'response');
  },
);

t.test('an end that is under way when the relay closes is answered [F-164]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  await client.ask(to('a'));
  const gate = all.agent.hold('chat.end');
  client.send({ type: 'end', agent_id: 'a', id: 'e' });
  await gate.arrived;
  const closing = all.relay.close();
  gate.release();
  t.match(await client.next(), { type: 'ended', id: 'e' });
  t.strictSame(await closing, { sessions: 1, ended: 1, failed: 0 });
});
