import { once } from 'node:events';
import t from 'tap';
import type { WebSocket } from 'ws';
import type { ChatOutcome, Session } from '../../../src/index.js';
import {
  type Client,
  deferred,
  type Frame,
  type Json,
  textOf,
  to,
  until,
  type World,
  withDeadline,
  world,
} from '../helpers.js';

interface Ready extends Frame {
  session: string;
  seq: number;
  got: number;
  resumed?: boolean;
  reason?: string;
  pending?: unknown[];
}

/** A new connection of a client that asks for a session, and its `ready`. */
async function open(all: World, resume: Json = {}): Promise<[Client, Ready]> {
  const client = await all.connect();
  client.send({ type: 'resume', ...resume });
  return [client, (await client.next()) as Ready];
}

/** Drops the connection, and waits until the relay has noticed. */
async function drop(all: World, client: Client): Promise<void> {
  const index = all.clients.indexOf(client);
  const gone = once(all.sockets[index] as WebSocket, 'close');
  client.socket.terminate();
  await gone;
}

const seqs = (frames: Frame[]): unknown[] => frames.map(({ seq }) => seq);

t.test('on a relay without resume the frame is invalid, and the connection continues [F-270]', async (t) => {
  const all = await world(t);
  const client = await all.connect();
  client.send({ type: 'resume' });
  t.match(await client.next(), {
    type: 'error',
    data: { code: -32_600, message: 'type: must be one of message, cancel, end, ping' },
  });
  t.equal((await client.ask(to('a'))).seq, undefined);
});

t.test('a client that does not ask for it gets no numbers from a relay that can resume [F-270]', async (t) => {
  const all = await world(t, { resume: true });
  const client = await all.connect();
  t.strictSame(Object.keys(await client.ask(to('a'))), ['type', 'agent_id', 'response']);
  client.send({ type: 'ack', seq: 1 });
  t.match(await client.next(), { type: 'error', data: { code: -32_600 } });
  client.send({ type: 'resume' });
  t.match(await client.next(), { type: 'error', data: { code: -32_600 } });
});

t.test('a client that does not ask for it gets the same bytes with and without the option [F-270]', async (t) => {
  const texts: string[][] = [];
  for (const resume of [undefined, true]) {
    const all = await world(t, { ...(resume && { resume }), maxBadFrames: 3 });
    const client = await all.connect();
    const received: string[] = [];
    // What differs each time: ids of requests and chats, and the times that the agent says.
    const random = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z/g;
    client.socket.on('message', (data) => received.push(String(data).replace(random, '…')));
    await client.ask(to('a', 'x', { id: 1, trace_id: 'tr', context_id: 'c' }));
    client.send(to('a', 'y', { id: 2, stream: true }));
    await client.answer();
    all.agent.script('chat.message', { error: { code: -50_007, message: 'Broken' } });
    await client.ask(to('a', 'z', { id: 3 }));
    const gate = all.agent.hold('chat.message');
    client.send(to('a', 'held', { id: 4 }));
    await gate.arrived;
    await client.ask({ type: 'cancel', id: 4 });
    gate.release();
    await client.ask({ type: 'end', id: 5, agent_id: 'a' });
    await client.ask({ type: 'ping', id: 6 });
    client.send('no JSON', { type: 'resume', session: 'x' }, { type: 'ack', seq: 1 });
    const { code, reason } = await client.closed;
    texts.push([...received, `${code} ${reason}`]);
  }
  const [without, withOption] = texts as [string[], string[]];
  t.ok(without.length > 9, `${without.length} frames`);
  // Where the option is set there are two more types of frames, which the error of an unknown one would name.
  t.strictSame(
    withOption.filter((text) => !/-32600/.test(text)),
    without.filter((text) => !/-32600/.test(text)),
  );
});

t.test('ready names the session, and every frame but pong has its number from 1 [F-271] [F-272]', async (t) => {
  const all = await world(t, { resume: { grace: 5000 } });
  const [client, ready] = await open(all);
  const { session, ...rest } = ready;
  t.match(session, /^[\w-]+\.[\w-]{32}$/);
  t.strictSame(rest, { type: 'ready', seq: 0, got: 0, grace_ms: 5000, ack: { frames: 32, bytes: 65_536, ms: 1000 } });
  client.send(to('a', 'x', { id: 1 }));
  t.match(await client.next(), { type: 'response', id: 1, seq: 1 });
  client.send({ type: 'ping', id: 2 });
  t.strictSame(await client.next(), { type: 'pong', id: 2 });
  t.match(await client.ask(to('a', 'x', { id: 3 })), { id: 3, seq: 2 });
  client.send('no JSON');
  t.match(await client.next(), { type: 'error', seq: 3 });
});

t.test('a connection that is lost in mid-stream: each piece arrives once and in order [F-273] [F-274]', async (t) => {
  const all = await world(t, { resume: true });
  const gate = deferred();
  all.agent.script('chat.start', async function* () {
    for (let i = 0; i < 5; i++) yield `${i} `;
    await gate.promise;
    for (let i = 5; i < 10; i++) yield `${i} `;
  });
  const [first, { session }] = await open(all);
  first.send(to('a', 'x', { id: 'q', stream: true }));
  const before = await first.all(3);
  t.strictSame(seqs(before), [1, 2, 3]);
  await drop(all, first);
  t.match(all.relay.stats(), { sessions: 1, detached: 1, pending: 1 });
  t.equal(all.session.request, undefined);
  gate.resolve();
  await all.agent.waitFor(({ counters }) => counters.running === 0);
  const [second, ready] = await open(all, { session, seq: 3, sent: 1 });
  t.match(ready, { resumed: true, session, got: 1 });
  const after = await second.all(ready.seq - 3);
  t.strictSame(seqs(after), [4, 5, 6, 7, 8, 9, 10, 11]);
  t.equal(after.at(-1)?.type, 'done');
  const texts = [...before, ...after].filter(({ type }) => type === 'content').map(({ data }) => textOfPiece(data));
  t.equal(texts.join(''), '0 1 2 3 4 5 6 7 8 9 ');
  t.match(all.relay.stats(), { sessions: 1, detached: 0, resumed: 1, interrupted: 0 });
  t.equal(textOf(await second.ask(to('a', 'y', { id: 'r' }))), 'a #2: y', 'the thread continues');
});

function textOfPiece(data: unknown): string {
  return (data as { message: { parts: { content: string }[] } }).message.parts.map(({ content }) => content).join('');
}

t.test('a replayed frame has identical bytes, and nothing live comes before the replay is done [F-274]', async (t) => {
  const all = await world(t, { resume: true });
  const [first, { session }] = await open(all);
  for (const id of [1, 2, 3]) first.send(to(`a${id}`, 'é"\\', { id }));
  const texts = [await first.text(), await first.text(), await first.text()];
  await drop(all, first);
  const [second, ready] = await open(all, { session, seq: 0, sent: 3 });
  second.send(to('b', 'live', { id: 4 }));
  t.equal(ready.seq, 3);
  t.strictSame([await second.text(), await second.text(), await second.text()], texts);
  t.match(await second.next(), { id: 4, seq: 4 });
});

t.test('acknowledged frames are not replayed, and cannot be requested again [F-275]', async (t) => {
  const all = await world(t, { resume: true });
  const [first, { session }] = await open(all);
  for (const id of [1, 2, 3]) await first.ask(to('a', 'x', { id }));
  first.send({ type: 'ack', seq: 2 }, { type: 'ping' });
  await first.next();
  t.ok(all.relay.stats().journalBytes > 0);
  first.send({ type: 'ack', seq: 3 }, { type: 'ping' });
  await first.next();
  t.equal(all.relay.stats().journalBytes, 0);
  await drop(all, first);
  const [gap, refused] = await open(all, { session, seq: 1, sent: 3 });
  t.match(refused, { resumed: false, reason: 'gap', seq: 0, got: 0 });
  t.not(refused.session, session);
  t.equal(textOf(await gap.ask(to('a', 'x', { id: 1 }))), 'a #1: x', 'a new session with threads of its own');
  const [, ready] = await open(all, { session, seq: 3, sent: 3 });
  t.match(ready, { resumed: true, seq: 3, got: 3, pending: [] }, 'the refusal has not disturbed the session');
});

t.test('cursors outside of the possible range are a gap [F-276]', async (t) => {
  const all = await world(t, { resume: true, maxBadFrames: 100 });
  const [first, { session }] = await open(all);
  await first.ask(to('a', 'x', { id: 1 }));
  await drop(all, first);
  const wrong: [what: string, seq: number, sent: number][] = [
    ['a frame of the future', 2, 1],
    ['a negative number', -1, 1],
    ['a fraction', 0.5, 1],
    ['a huge number', 2 ** 53, 1],
    ['fewer frames sent than arrived', 1, 0],
    ['a negative count', 1, -1],
    ['a fraction of a frame', 1, 1.5],
    ['a huge count', 1, 2 ** 52],
  ];
  for (const [what, seq, sent] of wrong) {
    const [, ready] = await open(all, { session, seq, sent });
    t.match(ready, { resumed: false, reason: 'gap' }, what);
  }
  const client = await all.connect();
  for (const seq of [null, 'x', Number.NaN]) client.send({ type: 'resume', session, seq, sent: 1 });
  t.match(await client.all(3), Array(3).fill({ type: 'error', data: { code: -32_600 } }));
  const [, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
});

t.test('stolen, guessed and expired secrets are refused, and the owner is not disturbed [F-277]', async (t) => {
  const users = ['ann', 'ann', 'bob', 'ann', 'ann', 'ann', 'ann', 'ann'];
  const all = await world(t, { resume: true, attach: () => ({ identity: { id: users.shift() } }) });
  const [owner, { session }] = await open(all);
  await owner.ask(to('a', 'x', { id: 1 }));
  const [sid, secret] = session.split('.') as [string, string];
  const cases: [what: string, session: string, reason: string][] = [
    ['another session', `${sid.replace(/./g, '0')}.${secret}`, 'unknown'],
    ['the right session of another identity', session, 'forbidden'],
    ['a wrong secret', `${sid}.${secret.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`, 'unknown'],
    ['a shorter secret', `${sid}.${secret.slice(1)}`, 'unknown'],
    ['no secret', sid, 'unknown'],
  ];
  for (const [what, token, reason] of cases) {
    const [, ready] = await open(all, { session: token, seq: 1, sent: 1 });
    t.match(ready, { resumed: false, reason }, what);
  }
  t.equal(textOf(await owner.ask(to('a', 'y', { id: 2 }))), 'a #2: y');
  owner.socket.close(1000);
  await all.session.closed;
  const [, ready] = await open(all, { session, seq: 2, sent: 2 });
  t.match(ready, { resumed: false, reason: 'expired' });
});

t.test(
  'the newest connection takes the session over; the older one is closed with 4409 [F-278] [F-294] [F-437]',
  async (t) => {
    const all = await world(t, { resume: true });
    const [first, { session }] = await open(all);
    await first.ask(to('a', 'x', { id: 1 }));
    const gate = all.agent.hold();
    first.send(to('a', 'y', { id: 2 }));
    await gate.arrived;
    const [second, ready] = await open(all, { session, seq: 1, sent: 2 });
    t.match(ready, { resumed: true, got: 2, pending: [2] });
    t.equal((await first.closed).code, 4409);
    gate.release();
    t.match(await second.next(), { type: 'response', id: 2, seq: 2 });
    t.equal(all.relay.sessions.size, 1);
    t.match(all.relay.stats(), { sessions: 1, detached: 0, resumed: 1 });
  },
);

t.test('frames of a connection that was replaced are neither handled nor counted [F-278]', async (t) => {
  const all = await world(t, { resume: true });
  const [first, { session }] = await open(all);
  const old = all.sockets[0] as WebSocket;
  const [second, ready] = await open(all, { session, seq: 0, sent: 0 });
  t.match(ready, { resumed: true, got: 0 });
  old.emit('message', Buffer.from(JSON.stringify(to('a', 'stale', { id: 1 }))), false);
  t.match(await second.ask(to('a', 'fresh', { id: 2 })), { id: 2, seq: 1 });
  t.equal(all.agent.requests.length, 1);
  await first.closed;
  const [, again] = await open(all, { session, seq: 1, sent: 1 });
  t.match(again, { resumed: true, got: 1 });
});

t.test('each frame of the client is counted once, but resume, ack and ping, and acknowledged [F-279]', async (t) => {
  const all = await world(t, { resume: true, maxBadFrames: 100 });
  const [client, { session }] = await open(all);
  for (let id = 1; id <= 30; id++) client.send({ type: 'cancel', id });
  client.send({ type: 'ping' }, 'not JSON', to('a', 'x', { id: 'm' }), { type: 'ack', seq: 0 });
  const frames = await client.all(4);
  t.match(
    frames.find(({ type }) => type === 'ack'),
    { seq: 32 },
    'after 32 frames',
  );
  client.send({ type: 'cancel', id: 1 });
  t.match(await client.next(), { type: 'ack', seq: 33 }, 'after a second');
  await drop(all, client);
  const [, ready] = await open(all, { session, seq: 2, sent: 40 });
  t.match(ready, { resumed: true, got: 33 });
});

t.test('frames that did not arrive are sent again, and each is handled once [F-292]', async (t) => {
  const all = await world(t, { resume: true });
  const [first, { session }] = await open(all);
  await first.ask(to('a', 'one', { id: 1 }));
  await drop(all, first);
  const [second, ready] = await open(all, { session, seq: 1, sent: 3 });
  t.match(ready, { resumed: true, got: 1 });
  second.send(to('a', 'two', { id: 2 }), to('a', 'three', { id: 3 }));
  t.strictSame((await second.all(2)).map(textOf), ['a #2: two', 'a #3: three']);
  await drop(all, second);
  const [, again] = await open(all, { session, seq: 3, sent: 3 });
  t.match(again, { resumed: true, got: 3, seq: 3 });
  t.equal(all.agent.requests.length, 3);
});

t.test('a message needs an id, and not that of a pending one [F-280]', async (t) => {
  const all = await world(t, { resume: true });
  const [client] = await open(all);
  client.send(to('a'));
  t.match(await client.next(), { type: 'error', data: { code: -32_600, message: /^id: is missing/ } });
  const gate = all.agent.hold();
  client.send(to('a', 'x', { id: 1 }));
  await gate.arrived;
  client.send(to('b', 'x', { id: 1 }));
  t.match(await client.next(), { type: 'error', data: { code: -32_600, message: /^id: is that/ } });
  gate.release();
  t.match(await client.next(), { type: 'response', id: 1 });
  t.match(await client.ask(to('b', 'x', { id: 1 })), { type: 'response' }, 'it is free again');
});

t.test('pending lists messages that run, wait, are being decided about, or are held [F-281] [F-293]', async (t) => {
  const asked = deferred<boolean>();
  const all = await world(t, {
    resume: true,
    authorize: (_user, agentId) => (agentId === 'ask' ? asked.promise : true),
  });
  const [client, { session }] = await open(all);
  const gate = all.agent.hold();
  client.send(to('a', 'x', { id: 'runs' }));
  await gate.arrived;
  client.send(to('a', 'x', { id: 'waits' }), to('ask', 'x', { id: 'asked' }), to('b', 'x', { id: 'held' }));
  await all.received(5);
  await drop(all, client);
  const [second, ready] = await open(all, { session, seq: 0, sent: 4 });
  t.strictSame(ready.pending, ['runs', 'waits', 'asked', 'held']);
  asked.resolve(true);
  gate.release();
  const ids = (await second.all(4)).map(({ id }) => id);
  t.strictSame(new Set(ids), new Set(['runs', 'waits', 'asked', 'held']));
});

t.test(
  'pending lists the end frames that are not answered, so that no client repeats one of them [F-281]',
  async (t) => {
    const all = await world(t, { resume: true });
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 'first' }));
    const gate = all.agent.hold('chat.end');
    client.send({ type: 'end', id: 'end', agent_id: 'a' });
    await gate.arrived;
    await drop(all, client);
    const [second, ready] = await open(all, { session, seq: 1, sent: 2 });
    t.strictSame(ready.pending, ['end']);
    gate.release();
    t.match(await second.next(), { type: 'ended', id: 'end' });
  },
);

t.test('the way in which the connection ends decides whether the session ends [F-282] [F-296]', async (t) => {
  for (const [code, isKept] of [
    [1000, false],
    [undefined, false],
    [3000, false],
    [4999, false],
    [1002, false],
    [1011, false],
    [1001, true],
  ] as const) {
    const all = await world(t, { resume: true });
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 1 }));
    if (code === undefined) client.socket.close();
    else client.socket.close(code);
    await client.closed;
    if (!isKept) t.match(await withDeadline(all.session.closed, 'the end'), [{ agentId: 'a', ok: true }], `${code}`);
    const [, ready] = await open(all, { session, seq: 1, sent: 1 });
    t.match(ready, isKept ? { resumed: true } : { resumed: false, reason: 'expired' }, `${code}`);
  }
});

t.test('what the relay closes for cause is over [F-297]', async (t) => {
  const all = await world(t, { resume: true, maxBadFrames: 2, maxFrameBytes: 1000 });
  const causes: [code: number, (client: Client) => void][] = [
    [1003, ({ socket }) => socket.send(Buffer.from('binary'))],
    [1009, (client) => client.send(to('a', 'x'.repeat(1000), { id: 2 }))],
    [4429, (client) => client.send('bad', 'bad')],
  ];
  for (const [code, cause] of causes) {
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 1 }));
    cause(client);
    t.equal((await client.closed).code, code);
    await all.agent.waitFor(({ counters }) => counters.open === 0);
    const [, ready] = await open(all, { session, seq: 1, sent: 1 });
    t.match(ready, { resumed: false, reason: 'expired' }, `${code}`);
  }
});

t.test('a session ends when its grace is over, and its chats with it [F-283]', async (t) => {
  const told: string[] = [];
  const closed = deferred<ChatOutcome[]>();
  const note =
    (name: string) =>
    (_session: Session): void =>
      void told.push(name);
  const all = await world(t, {
    resume: { grace: 50 },
    hooks: {
      onOpen: note('open'),
      onDetach: note('detach'),
      onClose: (_session, outcomes) => {
        told.push('close');
        closed.resolve(outcomes);
      },
    },
  });
  const [client, { session }] = await open(all);
  all.agent.script('chat.start', async function* () {
    yield 'the beginning';
    await new Promise(() => {});
  });
  client.send(to('a', 'x', { id: 1, stream: true }));
  await client.next();
  await drop(all, client);
  t.match(await withDeadline(closed.promise, 'onClose'), [{ agentId: 'a', ok: true }]);
  t.strictSame(told, ['open', 'detach', 'close']);
  t.match(all.relay.stats(), { sessions: 0, detached: 0, interrupted: 1, threads: 0, journalBytes: 0 });
  const [, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: false, reason: 'expired' });
});

t.test('a session that has nothing to keep is not kept [F-283]', async (t) => {
  const all = await world(t, { resume: true });
  const [client] = await open(all);
  await drop(all, client);
  await withDeadline(all.session.closed, 'the end');
  t.match(all.relay.stats(), { sessions: 0, detached: 0 });
});

t.test('with expired, received is the number of client frames that had arrived [F-430]', async (t) => {
  const all = await world(t, { resume: { grace: 20 } });
  const [empty, first] = await open(all);
  await drop(all, empty);
  await withDeadline(all.session.closed, 'the end');
  t.match(await open(all, { session: first.session, seq: 0, sent: 2 }).then(([, ready]) => ready), {
    resumed: false,
    reason: 'expired',
    received: 0,
    got: 0,
  });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await client.ask(to('a', 'y', { id: 2 }));
  await drop(all, client);
  await withDeadline(all.sessions.at(-1)?.closed ?? Promise.reject(), 'the end');
  const [, ready] = await open(all, { session, seq: 2, sent: 3 });
  t.match(ready, { reason: 'expired', received: 2 });
  // A secret may end with any of its 64 characters.
  const other = session.slice(0, -1) + (session.endsWith('_') ? '-' : '_');
  const [, wrong] = await open(all, { session: other, seq: 2, sent: 3 });
  t.equal(wrong.reason, 'unknown');
  t.notOk('received' in wrong);
});

t.test('with expired, a frame that was refused with 1009 counts as arrived [F-400]', async (t) => {
  // The second server knows nothing of the limit: the relay refuses the frame itself.
  for (const server of [undefined, { maxPayload: 1024 * 1024 }]) {
    const all = await world(t, { resume: true, maxFrameBytes: 1000, ...(server && { server }) });
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 1 }));
    client.send(to('a', 'x'.repeat(1000), { id: 2 }));
    t.equal((await client.closed).code, 1009);
    await withDeadline(all.session.closed, 'the end');
    const [, ready] = await open(all, { session, seq: 1, sent: 3 });
    t.match(ready, { reason: 'expired', received: 2 });
  }
});

t.test('hooks: a resumed session tells onResume, and the one of its new connection ends [S-50]', async (t) => {
  const told: [string, Session][] = [];
  const note =
    (name: string) =>
    (session: Session): void =>
      void told.push([name, session]);
  const all = await world(t, {
    resume: true,
    hooks: { onOpen: note('open'), onClose: note('close'), onDetach: note('detach'), onResume: note('resume') },
  });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await drop(all, client);
  await open(all, { session, seq: 1, sent: 1 });
  await all.sessions[1]?.closed;
  t.strictSame(
    told.map(([name, of]) => [name, all.sessions.indexOf(of)]),
    [
      ['open', 0],
      ['detach', 0],
      ['open', 1],
      ['resume', 0],
      ['close', 1],
    ],
  );
  t.equal(all.session.identity, 'me');
});

t.test('without a connection agents are not read beyond maxBufferedBytes, and nothing is lost [F-284]', async (t) => {
  const all = await world(t, { resume: { maxBufferedBytes: 100_000 } });
  const piece = 'x'.repeat(10_000);
  all.agent.script('chat.start', async function* () {
    for (let i = 0; i < 2000; i++) yield piece;
  });
  const [client, { session }] = await open(all);
  client.send(to('a', 'x', { id: 1, stream: true }));
  await client.next();
  await drop(all, client);
  const other = await world(t);
  const busy = await other.connect();
  for (let last = -1, same = 0; same < 5; ) {
    await busy.ask(to('a'));
    const { journalBytes } = all.relay.stats();
    same = journalBytes === last ? same + 1 : 0;
    last = journalBytes;
  }
  const { journalBytes } = all.relay.stats();
  t.ok(journalBytes > 100_000 && journalBytes < 1_000_000, `${journalBytes} bytes are kept`);
  const [second, ready] = await open(all, { session, seq: 1, sent: 1 });
  let seq = 1;
  for (;;) {
    const frame = await second.next();
    if (frame.type === 'ack') continue;
    t.equal(frame.seq, ++seq);
    if (frame.type === 'done') break;
    if (seq % 8 === 0) second.send({ type: 'ack', seq });
  }
  t.equal(seq, 2001);
  t.ok(ready.seq < 2001);
});

t.test(
  'a client that never acknowledges is not sent more than maxBufferedBytes, and ends at stalledTimeout [F-285]',
  async (t) => {
    const all = await world(t, { resume: { maxBufferedBytes: 1000 }, stalledTimeout: 150 });
    const piece = 'x'.repeat(500);
    all.agent.script('chat.start', async function* () {
      for (let i = 0; i < 50; i++) {
        yield piece;
        await new Promise(setImmediate);
      }
      await new Promise(() => {});
    });
    const [client, { session }] = await open(all);
    client.send(to('a', 'x', { id: 1, stream: true }));
    const frames: Frame[] = [];
    client.closed.then(
      () => {},
      () => {},
    );
    const { code } = await client.closed;
    while (client.texts.length > 0) frames.push(await client.next());
    t.ok([1006, 1008].includes(code), `${code}`);
    await withDeadline(all.session.closed, 'the end');
    const [, ready] = await open(all, { session, seq: 1, sent: 1 });
    t.match(ready, { resumed: false, reason: 'expired' }, 'or it would come back for ever');
  },
);

t.test('repeated acknowledgements show that the client is alive [F-285]', async (t) => {
  const stalledTimeout = 600;
  const all = await world(t, { resume: { maxBufferedBytes: 1000 }, stalledTimeout });
  const begin = async (): Promise<Client> => {
    all.agent.script('chat.start', async function* () {
      for (let i = 0; i < 4; i++) yield 'x'.repeat(500);
      yield 'the end';
    });
    const [client] = await open(all);
    client.send(to('a', 'x', { id: 1, stream: true }));
    await client.next();
    return client;
  };
  const client = await begin();
  await until(() => all.relay.stats().journalBytes > 1000, 'the journal to be full');
  const timer = setInterval(() => client.send({ type: 'ack', seq: 0 }), stalledTimeout / 10);
  t.teardown(() => clearInterval(timer));
  // It acknowledges nothing, and is closed later than the first one would be.
  const silent = await begin();
  await silent.closed;
  const frames = await client.rest();
  clearInterval(timer);
  t.equal(client.socket.readyState, client.socket.OPEN);
  client.send({ type: 'ack', seq: 1 }, { type: 'ack', seq: 2 });
  while (frames.at(-1)?.type !== 'done') {
    frames.push(await client.next());
    client.send({ type: 'ack', seq: frames.filter(({ type }) => type !== 'ack').length + 1 });
  }
  t.equal(frames.filter(({ type }) => type === 'content').length, 4);
});

t.test('onDisconnect finish: sends that are pending when the grace ends are finished first [F-283]', async (t) => {
  const told: unknown[] = [];
  const all = await world(t, {
    resume: { grace: 20, maxBufferedBytes: 1000 },
    onDisconnect: 'finish',
    hooks: { onSend: (_session, { state }) => void told.push(state) },
  });
  all.agent.script('chat.start', async function* () {
    for (let i = 0; i < 100; i++) yield 'x'.repeat(10_000);
  });
  const [client] = await open(all);
  client.send(to('a', 'x', { id: 1, stream: true }));
  await client.next();
  await drop(all, client);
  await withDeadline(all.session.closed, 'the end');
  t.strictSame(told, ['done']);
});

t.test('maxDetached: the identity with most sessions loses its oldest, and no other does [F-286]', async (t) => {
  let user = 'many';
  const all = await world(t, { resume: { maxDetached: 3 }, attach: () => ({ identity: user }) });
  const sessions: [Client, string][] = [];
  const add = async (): Promise<void> => {
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 1 }));
    sessions.push([client, session]);
    await drop(all, client);
  };
  user = 'one';
  await add();
  user = 'many';
  for (let i = 0; i < 4; i++) await add();
  t.equal(all.relay.stats().detached, 3);
  const states: unknown[] = [];
  for (const [index, [, session]] of sessions.entries()) {
    user = index === 0 ? 'one' : 'many';
    const [, { resumed }] = await open(all, { session, seq: 1, sent: 1 });
    states.push(resumed);
  }
  t.strictSame(states, [true, false, false, true, true]);
});

t.test('maxDetachedBytes: the identity that keeps most loses its oldest session [F-286]', async (t) => {
  let user = 'small';
  const all = await world(t, { resume: { maxDetachedBytes: 50_000 }, attach: () => ({ identity: user }) });
  const keep = async (bytes: number): Promise<string> => {
    all.agent.script('chat.start', 'x'.repeat(bytes));
    const [client, { session }] = await open(all);
    await client.ask(to('a', 'x', { id: 1 }));
    await drop(all, client);
    return session;
  };
  const small = await keep(1000);
  user = 'large';
  const first = await keep(30_000);
  const second = await keep(30_000);
  t.equal(all.relay.stats().detached, 2);
  t.ok(all.relay.stats().journalBytes < 50_000);
  const results: unknown[] = [];
  for (const [who, session] of [
    ['small', small],
    ['large', first],
    ['large', second],
  ] as const) {
    user = who;
    results.push((await open(all, { session, seq: 1, sent: 1 }))[1].resumed);
  }
  t.strictSame(results, [true, false, true]);
});

t.test('messages that are not answered count for maxDetachedBytes [F-490]', async (t) => {
  let user = 'small';
  const gate = deferred();
  const all = await world(t, { resume: { maxDetachedBytes: 50_000 }, attach: () => ({ identity: user }) });
  const keep = async (bytes: number): Promise<string> => {
    all.agent.script('chat.start', async () => {
      await gate.promise;
      return 'answered';
    });
    const [client, { session }] = await open(all);
    client.send(to('a', 'x'.repeat(bytes), { id: 1 }));
    await all.received(2 * all.sessions.length);
    await drop(all, client);
    return session;
  };
  const small = await keep(1000);
  user = 'large';
  const first = await keep(30_000);
  const second = await keep(30_000);
  t.equal(all.relay.stats().detached, 2);
  t.ok(all.relay.stats().journalBytes < 1000, 'frames for clients are counted as well, and there are none here');
  gate.resolve();
  const results: unknown[] = [];
  for (const [who, session] of [
    ['small', small],
    ['large', first],
    ['large', second],
  ] as const) {
    user = who;
    results.push((await open(all, { session, seq: 0, sent: 1 }))[1].resumed);
  }
  t.strictSame(results, [true, false, true]);
});

t.test('messages that are answered while the client is away do not count any more [F-490]', async (t) => {
  const gates = [deferred(), deferred()];
  const all = await world(t, { resume: { maxDetachedBytes: 50_000 } });
  for (const gate of gates) {
    all.agent.script('chat.start', async () => {
      await gate.promise;
      return 'answered';
    });
    const [client] = await open(all);
    client.send(to('a', 'x'.repeat(30_000), { id: 1 }));
    await all.received(2 * all.sessions.length);
    await drop(all, client);
    gate.resolve();
    await until(() => all.relay.stats().pending === 0, 'it is answered');
  }
  t.equal(all.relay.stats().detached, 2);
});

t.test('detached sessions do not count for maxSessions, resumed ones do [F-287]', async (t) => {
  const all = await world(t, { resume: true, maxSessions: 1 });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await drop(all, client);
  const [second, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  const third = await all.connect();
  t.equal((await third.closed).code, 1013);
  await drop(all, second);
  const [fourth] = await open(all, { session, seq: 1, sent: 1 });
  fourth.socket.close(1000);
  await all.session.closed;
  const fifth = await all.connect();
  t.equal((await fifth.ask(to('a'))).type, 'response');
});

t.test('authenticate runs on every connection, and its latest result is the identity [F-288]', async (t) => {
  const nobody = { name: 'nobody' };
  const answers: unknown[] = [{ id: 7, name: 'old' }, { id: 7, name: 'new' }, nobody, nobody];
  const all = await world(t, { resume: true, attach: {}, authenticate: () => answers.shift() });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await drop(all, client);
  const [, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true });
  t.strictSame(all.session.identity, { id: 7, name: 'new' });
  for (let times = 0; times < 2; times += 1) {
    const other = await all.connect();
    other.send({ type: 'resume', session, seq: 1, sent: 1 });
    t.match(await other.next(), { type: 'error', data: { code: -32_600, message: /identity cannot resume/ } });
  }
  t.match(
    all.log.lines.filter(({ message }) => message.includes('cannot be resumed')),
    { length: 1, 0: { level: 'warn' } },
    'the log says so once',
  );
});

t.test('pings and acks are exempt from frameRate and idleTimeout, and limited by themselves [F-289]', async (t) => {
  const all = await world(t, { resume: true, frameRate: 2, idleTimeout: 200, heartbeat: 0, maxBadFrames: 1000 });
  const [client] = await open(all);
  for (let i = 0; i < 50; i++) client.send({ type: 'ping', id: i });
  t.ok((await client.all(50)).every(({ type }) => type === 'pong'));
  for (let i = 0; i < 200; i++) client.send({ type: 'ping', id: i });
  const frames = await client.all(200);
  t.ok(frames.some(({ type, data }) => type === 'error' && (data as { code: number }).code === -44_007));
  const timer = setInterval(() => client.send({ type: 'ping' }), 20);
  t.equal((await client.closed).code, 4408);
  clearInterval(timer);
});

t.test(
  'relay.close ends attached sessions with 1001 and detached ones at once, and no chat stays open [F-290]',
  async (t) => {
    const all = await world(t, { resume: true });
    const [attached] = await open(all);
    const [detached] = await open(all);
    await attached.ask(to('a', 'x', { id: 1 }));
    const gate = all.agent.hold();
    detached.send(to('b', 'x', { id: 1 }));
    await gate.arrived;
    await drop(all, detached);
    const closing = all.relay.close();
    gate.release();
    t.match(await closing, { sessions: 2, ended: 2, failed: 0 });
    t.equal((await attached.closed).code, 1001);
    t.equal(all.agent.counters.open, 0);
  },
);

t.test('session.close ends a detached session [S-51]', async (t) => {
  const all = await world(t, { resume: true });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await drop(all, client);
  all.session.close();
  t.match(await withDeadline(all.session.closed, 'the end'), [{ agentId: 'a', ok: true }]);
  const [, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { reason: 'expired' });
});

t.test('frames before ready close the connection, and the session is not disturbed [F-291]', async (t) => {
  const asked = deferred<string>();
  let connections = 0;
  const all = await world(t, {
    resume: true,
    attach: {},
    authenticate: () => (++connections === 1 ? 'me' : asked.promise),
  });
  const [client, { session }] = await open(all);
  await client.ask(to('a', 'x', { id: 1 }));
  await drop(all, client);
  const hasty = await all.connect();
  hasty.send({ type: 'resume', session, seq: 1, sent: 2 }, to('a', 'hasty', { id: 2 }));
  await all.received(4);
  asked.resolve('me');
  t.equal((await hasty.closed).code, 1008);
  const [, ready] = await open(all, { session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, got: 1 });
});
