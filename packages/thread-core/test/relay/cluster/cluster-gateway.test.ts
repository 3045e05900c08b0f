import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { TestAgent } from '../../../src/testing/index.js';
import { type Client, deferred, type Frame, textOf, to, until } from '../helpers.js';
import { type ClusterNode, cluster, countCalls, holdStart } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

const seqs = (frames: Frame[]): unknown[] => frames.map(({ seq }) => seq);

function range(from: number, end: number): number[] {
  return Array.from({ length: end - from + 1 }, (_, index) => from + index);
}

/** The next frame that is no acknowledgement. */
async function nextOf(client: Client): Promise<Frame> {
  const frame = await client.next();
  return frame.type === 'ack' ? nextOf(client) : frame;
}

interface Streaming {
  gate: { resolve(): void };
  first: Client;
  session: string;
  /** The frames that were read. */
  before: Frame[];
}

/** Begins a session with a stream of ten pieces, whose second half comes when `gate` is resolved, and reads some frames. */
async function stream(agent: TestAgent, node: ClusterNode, frames: number): Promise<Streaming> {
  const gate = deferred();
  agent.script('chat.start', async function* () {
    for (let piece = 0; piece < 5; piece += 1) yield `${piece} `;
    await gate.promise;
    for (let piece = 5; piece < 10; piece += 1) yield `${piece} `;
  });
  const [first, { session }] = await node.resume();
  first.send(to('support', 'x', { id: 'q', stream: true }));
  return { gate, first, session, before: await first.all(frames) };
}

t.test(
  'a stream continues on another node, each piece once and in order, and then its session moves [S-64]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const { gate, session, before } = await stream(agent, a, 3);
    await a.dropAll();
    const [second, ready] = await b.resume({ session, seq: 3, sent: 1 });
    t.match(ready, { resumed: true, session, got: 1, pending: ['q'] });
    t.match(b.relay.stats(), { cluster: { gateways: 1 } });
    gate.resolve();
    const after: Frame[] = [];
    while (after.at(-1)?.type !== 'done') after.push(await second.next());
    t.strictSame(seqs([...before, ...after]), range(1, before.length + after.length));
    await until(() => b.relay.stats().cluster?.gateways === 0, 'the session to move');
    t.match(a.relay.stats(), { sessions: 0 });
    t.match(b.relay.stats(), { sessions: 1, cluster: { claimed: 1 } });
    t.equal(textOf(await second.ask(to('support', 'y', { id: 'r' }))), 'support #2: y');
    t.equal(agent.counters.started, 1);
  },
);

t.test('the bytes of a client count at its node, whichever has the session, and never become fewer', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const seen: { received: number; sent: number }[] = [];
  const look = (): void => void seen.push(b.relay.stats().bytes);
  for (const moves of [true, false]) {
    const { gate, session, before } = await stream(agent, a, 3);
    await a.dropAll();
    const client = await b.connect();
    look();
    client.send({ type: 'resume', session, seq: before.length, sent: 1 });
    t.match(await client.next(), { resumed: true });
    look();
    if (!moves) client.socket.terminate();
    gate.resolve();
    if (moves) {
      while ((await nextOf(client)).type !== 'done') look();
      client.send({ type: 'ack', seq: 10 });
    }
    await until(() => b.relay.stats().cluster?.gateways === 0, 'the gateway to leave');
    look();
    for (const held of [...a.relay.sessions, ...b.relay.sessions]) held.close();
    await until(() => a.relay.stats().sessions + b.relay.stats().sessions === 0, 'the session to end');
    look();
  }
  for (const direction of ['received', 'sent'] as const) {
    const bytes = seen.map((each) => each[direction]);
    t.strictSame(
      bytes,
      bytes.toSorted((one, other) => one - other),
      direction,
    );
    t.ok((bytes.at(-1) ?? 0) > (bytes[0] ?? 0), direction);
  }
});

t.test('messages, cancels and pings pass through to the node that has the session [S-64]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('hr', 'x', { id: 0 }));
  const gate = agent.hold('chat.start');
  first.send(to('support', 'x', { id: 1 }));
  await gate.arrived;
  const [second, ready] = await b.resume({ session, seq: 1, sent: 2 });
  t.match(ready, { resumed: true, got: 2, pending: [1] });
  t.match(await second.ask({ type: 'ping', id: 'p' }), { type: 'pong', id: 'p' });
  t.match(await second.ask(to('hr', 'y', { id: 2 })), { type: 'response', id: 2, seq: 2 });
  second.send('no JSON');
  t.match(await second.next(), { type: 'error', seq: 3 });
  second.send({ type: 'cancel', id: 1 });
  t.match(await second.next(), { type: 'cancelled', id: 1, seq: 4 });
  gate.release();
  await until(() => b.relay.stats().cluster?.gateways === 0, 'the session to move');
  t.match(await second.ask(to('hr', 'z', { id: 3 })), { type: 'response', id: 3, seq: 5 });
  t.equal(agent.requests.filter(({ method }) => method === 'chat.message').length, 2);
});

t.test('messages that are sent while a session moves reach the agent once each, and in order [S-64]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 2);
  const [second] = await b.resume({ session, seq: 2, sent: 1 });
  gate.resolve();
  const frames: Frame[] = [];
  for (let id = 1; frames.length < 400 && id <= 100; id += 1) {
    second.send(to('support', `m${id}`, { id }));
    do frames.push(await nextOf(second));
    while (frames.at(-1)?.id !== id);
  }
  t.strictSame(seqs(frames), range(3, frames.length + 2));
  await until(() => b.relay.stats().cluster?.gateways === 0, 'the session to move');
  const messages = agent.requests.filter(({ method }) => method === 'chat.message');
  t.equal(messages.length, 100);
  // The agent says how many messages its chat has had.
  t.equal(textOf(frames.at(-1) as Frame), 'support #101: m100');
});

t.test('a handover while a chat.start runs: it is answered, and its chat continues [S-65]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { session, gate } = await holdStart(agent, a);
  await a.dropAll();
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, seq: 0, got: 1, pending: [1] });
  gate.release();
  t.match(await second.next(), { type: 'response', id: 1, seq: 1 });
  t.match(await second.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('a link that is lost before the client is served is made again [S-95]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { heartbeat: 100 });
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 2);
  const appending = deferred();
  a.gates.append = appending.promise;
  const second = await b.connect();
  second.send({ type: 'resume', session, seq: 2, sent: 1 });
  // The node of the client does not know the link yet, and says so when it is asked.
  await until(() => a.relay.stats().detached === 1, 'the link to be lost');
  appending.resolve();
  t.match(await nextOf(second), { type: 'ready', resumed: true, session });
  gate.resolve();
  let frame = await nextOf(second);
  while (frame.type !== 'done') frame = await nextOf(second);
  t.equal(agent.counters.started, 1);
});

/** Hands a session over whose client is at the new node already. That node claims it when `claiming` is resolved. */
async function handOver(t: Test, agent: TestAgent, from: ClusterNode, target: ClusterNode) {
  const [first, { session }] = await from.resume();
  const gate = agent.hold('chat.start');
  first.send(to('support', 'x', { id: 1 }));
  await gate.arrived;
  const [second] = await target.resume({ session, seq: 0, sent: 1 });
  const claiming = deferred();
  target.gates.claim = claiming.promise;
  gate.release();
  t.match(await second.next(), { type: 'response', id: 1, seq: 1 });
  await until(() => from.relay.stats().sessions === 0, 'the session to be handed over');
  return { second, claiming };
}

t.test('what the former owner says of a link that has moved ends no session [S-92]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const links = new Set<string>();
  const post = store.post.bind(store);
  store.post = (to, message) => {
    const { link } = Object(message) as { link?: string };
    if (link !== undefined) links.add(link);
    return post(to, message);
  };
  const { second, claiming } = await handOver(t, agent, a, b);
  second.send(to('support', 'y', { id: 2 }));
  // The answer to a message that was under way when the session moved.
  const [link = ''] = links;
  await post('b', { type: 'link', link, from: 'a', event: { event: 'gone', code: 1006 } });
  t.match(await second.ask({ type: 'ping', id: 'p' }), { type: 'pong' }, 'the node has read it by now');
  claiming.resolve();
  t.match(await second.next(), { type: 'response', id: 2, seq: 2 });
  t.equal(agent.counters.started, 1);
  t.equal(agent.counters.ended, 0);
});

t.test('a session that moves while its client leaves waits for it, no longer than the grace [S-93]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { grace: 300 } });
  const [a, b] = nodes as Pair;
  const { claiming } = await handOver(t, agent, a, b);
  const reading = deferred();
  b.gates.read = reading.promise;
  claiming.resolve();
  await b.dropAll();
  reading.resolve();
  await until(() => agent.counters.ended === 1, 'the grace to end');
});

t.test('a session that a gateway got without an answer of the store is not ended by its node [S-100]', async (t) => {
  const { agent, nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const { session, gate } = await holdStart(agent, a);
  const [second] = await b.resume({ session, seq: 0, sent: 1 });
  a.lost.add('handover');
  const closed = once(second.socket, 'close');
  gate.release();
  t.equal((await closed)[0], 1012);
  await until(() => b.relay.stats().cluster?.sessions === 1, 'the session to be taken', 5000);
  const [third, ready] = await c.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, session, seq: 1 });
  t.match(await third.next(), { type: 'response', id: 1, seq: 1 });
  t.match(await third.ask(to('support', 'y', { id: 2 })), { type: 'response', seq: 2 });
  t.equal(agent.counters.started, 1);
});

t.test('the owner dies while another node passes frames on: the client resumes and continues [S-66]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 2);
  const [second, ready] = await b.resume({ session, seq: 2, sent: 1 });
  await second.all(ready.seq - 2);
  a.isCutOff = true;
  t.equal((await once(second.socket, 'close'))[0], 1012);
  const [third, again] = await b.resume({ session, seq: ready.seq, sent: 1 });
  t.match(again, { resumed: true, got: 1, pending: [] });
  gate.resolve();
  await agent.waitFor(({ counters }) => counters.running === 0);
  t.match(await third.ask(to('support', 'y', { id: 'r' })), { type: 'response', seq: ready.seq + 1 });
  t.equal(agent.counters.started, 1);
});

t.test('the client of a gateway is lost: its session waits at the owner, and resumes anywhere [S-66]', async (t) => {
  const { agent, nodes } = await cluster(t, 3);
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode];
  const { gate, session } = await stream(agent, a, 2);
  let seen = 2;
  for (const node of [b, c, a, c]) {
    const [client, ready] = await node.resume({ session, seq: seen, sent: 1 });
    t.match(ready, { resumed: true, got: 1, pending: ['q'] });
    const frames = await client.all(ready.seq - seen);
    t.strictSame(seqs(frames), range(seen + 1, ready.seq));
    seen = Math.min(seen + 1, ready.seq);
    await node.dropAll();
  }
  gate.resolve();
  const [last] = await b.resume({ session, seq: seen, sent: 1 });
  let frame = await last.next();
  while (frame.type !== 'done') frame = await last.next();
  t.equal(agent.counters.started, 1);
});

t.test('backpressure: the acknowledgements of a client at another node let its agent be read on [S-67]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { maxBufferedBytes: 20_000 } });
  const [a, b] = nodes as Pair;
  agent.script('chat.start', async function* () {
    for (let piece = 0; piece < 200; piece += 1) yield 'x'.repeat(1000);
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 'q', stream: true }));
  await first.next();
  await a.dropAll();
  await until(() => a.relay.stats().journalBytes > 20_000, 'the journal to be full');
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, pending: ['q'] });
  let frame = await second.next();
  while (frame.type !== 'done') {
    second.send({ type: 'ack', seq: frame.seq });
    frame = await second.next();
  }
  t.ok(Number(frame.seq) > 200);
});

t.test('while the event loop of the owner hangs and its lease is good, the client waits [S-68]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const [first, { session }] = await a.resume();
  await first.ask(to('support', 'x', { id: 1 }));
  await a.dropAll();
  // It renews its lease, and does not get to give the session away.
  const gate = deferred();
  a.gates.handover = gate.promise;
  const client = await b.connect();
  client.send({ type: 'resume', session, seq: 1, sent: 1 });
  // A node renews its lease three times in its length.
  const renewals = countCalls(a, 'renew');
  await until(() => renewals.count >= 9, 'three leases to pass');
  t.match(b.relay.stats(), { cluster: { claimed: 0 } }, 'the session is not taken over');
  gate.resolve();
  t.match(await client.next(), { resumed: true, seq: 1, got: 1 });
  t.equal(agent.counters.started, 1);
});

t.test('frames that wait because a client does not read hold up its session, and nothing else [S-69]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { maxBufferedBytes: 20_000 } });
  const [a, b] = nodes as Pair;
  agent.script('chat.start', async function* () {
    for (let piece = 0; piece < 200; piece += 1) yield 'x'.repeat(1000);
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 'q', stream: true }));
  await until(() => a.relay.stats().journalBytes > 20_000, 'the journal to be full');
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  second.send(to('hr', 'waits', { id: 'r' }), { type: 'cancel', id: 'q' });
  let frame = await second.next();
  while (frame.type !== 'cancelled') frame = await second.next();
  t.match(ready, { pending: ['q'] });
  // Nothing runs, and the journal is still full.
  const [other] = await a.resume();
  t.match(await other.ask({ type: 'ping', id: 'p' }), { type: 'pong', id: 'p' });
  second.send({ type: 'ack', seq: frame.seq });
  frame = await second.next();
  while (frame.type === 'ack') frame = await second.next();
  t.match(frame, { type: 'response', id: 'r' });
});

t.test('a session that is served by another node ends if its client acknowledges nothing [F-285]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { resume: { maxBufferedBytes: 20_000 }, stalledTimeout: 1500 });
  const [a, b] = nodes as Pair;
  agent.script('chat.start', async function* () {
    for (;;) yield 'x'.repeat(1000);
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 'q', stream: true }));
  await until(() => a.relay.stats().journalBytes > 20_000, 'the journal to be full');
  const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(ready, { resumed: true, pending: ['q'] });
  t.match(await second.closed, { code: 1008, reason: 'The client does not read' });
  await until(() => a.relay.stats().sessions === 0, 'the session to end');
  const [, again] = await b.resume({ session, seq: 0, sent: 1 });
  t.match(again, { resumed: false });
});

t.test(
  'a node keeps at most maxPendingBytes of frames that the owner has not taken, and none is lost [S-80]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { maxPendingBytes: 20_000, maxFrameBytes: 10_000 });
    const [a, b] = nodes as Pair;
    const [first, { session }] = await a.resume();
    const gate = agent.hold('chat.start');
    first.send(to('support', 'x', { id: 0 }));
    await gate.arrived;
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, got: 1 });
    const posting = deferred();
    b.gates.post = posting.promise;
    const messages = [1, 2].map((id) => to('support', 'y'.repeat(9000), { id }));
    // They count for this node, but not for the owner, which has nothing to keep of them.
    const cancels = Array.from({ length: 20 }, () => ({ type: 'cancel', id: 'nothing' }));
    const frames = [...messages, ...cancels];
    second.send(...frames);
    t.equal((await second.closed).code, 1013);
    posting.resolve();
    const [third, again] = await b.resume({ session, seq: 0, sent: 1 + frames.length });
    t.match(again, { resumed: true });
    gate.release();
    third.send(...frames.slice(again.got - 1));
    const ids: unknown[] = [];
    while (ids.length < 3) ids.push((await nextOf(third)).id);
    t.strictSame(ids, [0, 1, 2]);
    t.equal(agent.requests.filter(({ method }) => method === 'chat.message').length, 2);
  },
);

t.test('acknowledgements that cannot be passed on at once are passed on as one [S-81]', async (t) => {
  const { agent, store, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 3);
  const [second] = await b.resume({ session, seq: 3, sent: 1 });
  const posting = deferred();
  b.gates.post = posting.promise;
  for (let count = 0; count < 500; count += 1) second.send({ type: 'ack', seq: 3 });
  t.match(await second.ask({ type: 'ping', id: 'p' }), { type: 'pong', id: 'p' });
  let posts = 0;
  const post = store.post.bind(store);
  store.post = (...args) => {
    posts += 1;
    return post(...args);
  };
  posting.resolve();
  gate.resolve();
  while ((await second.next()).type !== 'done');
  t.ok(posts < 50, `${posts} messages between the nodes`);
});

t.test('an invalid acknowledgement that waits does not replace a valid one, and is refused [S-81]', async (t) => {
  const { agent, nodes } = await cluster(t, 2);
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 3);
  const [second] = await b.resume({ session, seq: 0, sent: 1 });
  await second.all(5);
  const posting = deferred();
  b.gates.post = posting.promise;
  const before = a.relay.stats().journalBytes;
  second.send({ type: 'ack', seq: 0 }, { type: 'ack', seq: 5 }, { type: 'ack', seq: 'x' });
  t.match(await second.ask({ type: 'ping', id: 'p' }), { type: 'pong', id: 'p' });
  posting.resolve();
  t.match(await nextOf(second), { type: 'error', data: { code: -32_600, message: /seq/ } });
  t.ok(a.relay.stats().journalBytes < before, 'the valid one was heard');
  gate.resolve();
});

t.test(
  'pings at a node that does not have the session are limited, too, and refused by the one that has it [F-289]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { maxBadFrames: 1000, lease: 10_000 });
    const [a, b] = nodes as Pair;
    const { gate, session } = await stream(agent, a, 3);
    const [second] = await b.resume({ session, seq: 3, sent: 1 });
    for (let id = 0; id < 300; id += 1) second.send({ type: 'ping', id });
    let pongs = 0;
    let frame = await second.next();
    for (; frame.type !== 'error'; frame = await second.next()) if (frame.type === 'pong') pongs += 1;
    t.match(frame, { data: { code: -44_007 } });
    t.ok(pongs < 200, `${pongs} pongs`);
    gate.resolve();
  },
);

t.test('pings of a client that does not read make no answers pile up at another node [S-82]', async (t) => {
  // This test keeps the event loop busy for longer than the usual lease.
  const { agent, nodes } = await cluster(t, 2, { maxBufferedBytes: 65_536, maxBadFrames: 100_000, lease: 10_000 });
  const [a, b] = nodes as Pair;
  const gate = agent.hold('chat.start');
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 0 }));
  await gate.arrived;
  const [second] = await b.resume({ session, seq: 0, sent: 1 });
  (second.socket as unknown as { _socket: Socket })._socket.pause();
  const ping = { type: 'ping', id: '€'.repeat(256) };
  let most = 0;
  // More than the buffers of the kernel take.
  for (let count = 0; count < 20_000; count += 1) {
    second.send(ping);
    if (count % 500 > 0) continue;
    await new Promise(setImmediate);
    most = Math.max(most, b.sockets.at(-1)?.bufferedAmount ?? 0);
  }
  second.send(to('hr', 'x', { id: 1 }));
  await until(() => agent.requests.some(({ agentId }) => agentId === 'hr'), 'the last frame to be passed on');
  most = Math.max(most, b.sockets.at(-1)?.bufferedAmount ?? 0);
  t.ok(most < 262_144, `${most} bytes wait`);
  gate.release();
  second.socket.terminate();
});

t.test('maxSessionAge at the node of the client ends a session that another node has [F-443]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, { maxSessionAge: 500 });
  const [a, b] = nodes as Pair;
  const { gate, session } = await stream(agent, a, 3);
  t.teardown(() => gate.resolve());
  const [second] = await b.resume({ session, seq: 3, sent: 1 });
  t.equal((await second.closed).code, 4401);
  await until(() => agent.counters.open === 0 && a.relay.sessions.size === 0, 'the session to end');
});

t.test(
  'frames that its node writes to a client together with the first of the session that has moved there are kept once [S-64]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 30_000 });
    const [a, b] = nodes as Pair;
    const { gate, session } = await stream(agent, a, 3);
    const [second] = await b.resume({ session, seq: 0, sent: 1 });
    await second.all(5);
    // What follows, the move, and the answer to the next frame of the client come in one turn.
    const reading = deferred();
    const givingAway = deferred();
    b.gates.read = reading.promise;
    a.gates.handover = givingAway.promise;
    const handovers = countCalls(a, 'handover');
    gate.resolve();
    await until(() => handovers.count > 0, 'the session to be at rest');
    const posts = countCalls(b, 'post');
    second.send({ type: 'end', agent_id: 'nobody', id: 'e' });
    await until(() => posts.count > 0, 'the frame to be passed on');
    givingAway.resolve();
    await until(() => a.relay.stats().sessions === 0, 'the session to be handed over');
    reading.resolve();
    let frame = await nextOf(second);
    while (frame.id !== 'e') frame = await nextOf(second);
    const last = Number(frame.seq);
    await b.dropAll();
    const [third] = await b.resume({ session, seq: 0, sent: 2 });
    t.strictSame(seqs(await third.all(last)), range(1, last));
  },
);

t.test(
  'a close code that no server may send ends a session, and not the process that has its client [S-171]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2);
    const [a, b] = nodes as Pair;
    const { session, gate } = await holdStart(agent, a);
    await a.dropAll();
    const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
    t.match(ready, { resumed: true, pending: [1] });
    const [held] = a.relay.sessions;
    t.throws(() => held?.close(1006), TypeError);
    await second.closed;
    gate.release();
    t.match((await b.resume({ session, seq: 0, sent: 1 }))[1], { resumed: false });
    await agent.waitFor('idle');
  },
);

t.test(
  'clients without an identity that were served by another node do not count as one [F-286] [F-513]',
  async (t) => {
    const { agent, nodes } = await cluster(t, 2, { lease: 10_000, resume: { maxDetached: 2 } });
    const [a, b] = nodes as Pair;
    let address = '';
    for (const { server, relay } of nodes) {
      server.removeAllListeners('connection');
      server.on('connection', (socket, request) => {
        Object.defineProperty(request.socket, 'remoteAddress', { value: address });
        relay.attach(socket, request);
      });
    }
    const gate = agent.hold('chat.start');
    const leave = async (from: string, id: number): Promise<string> => {
      address = from;
      const [first, { session }] = await a.resume();
      first.send(to('support', 'x', { id }));
      await until(() => agent.counters.running === id, 'the message to reach the agent');
      const [second, ready] = await b.resume({ session, seq: 0, sent: 1 });
      t.match(ready, { resumed: true });
      second.socket.terminate();
      // The third one makes another one end.
      await until(() => a.relay.stats().detached + a.relay.stats().interrupted === id, 'the connection to be lost');
      return session;
    };
    const alone = await leave('10.0.0.1', 1);
    for (const id of [2, 3]) await leave('10.0.0.2', id);
    address = '10.0.0.1';
    const [, ready] = await a.resume({ session: alone, seq: 0, sent: 1 });
    t.match(ready, { resumed: true });
    gate.release();
  },
);
