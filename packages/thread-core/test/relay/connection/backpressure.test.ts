import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { WebSocket } from 'ws';
import type { AgentHandler } from '../../../src/testing/index.js';
import {
  type Client,
  deferred,
  type Frame,
  maskedText,
  streamedText,
  textOf,
  to,
  type World,
  world,
} from '../helpers.js';

const MiB = 1024 * 1024;
const KiB64 = 'x'.repeat(65_536);

/** Streams so many pieces of 64 KiB, and counts how many were taken from it. */
function source(pieces: number): { handler: AgentHandler; taken: () => number; ended: Promise<void> } {
  let taken = 0;
  const { promise, resolve } = deferred();
  const handler: AgentHandler = async function* () {
    for (; taken < pieces; taken++) yield KiB64;
    resolve();
  };
  return { handler, taken: () => taken, ended: promise };
}

const tcpOf = (client: Client): Socket => (client.socket as unknown as { _socket: Socket })._socket;

const buffered = (all: World): number => (all.sockets[0] as WebSocket).bufferedAmount;

/**
 * Resolves when something waits for the reader, and a value has not changed while many pieces went all the way from an
 * agent to a client somewhere else, five times in a row: now and then the kernel finds room for more.
 */
async function settled(t: Test, all: World, value: () => unknown): Promise<void> {
  const elsewhere = await world(t);
  const client = await elsewhere.connect();
  for (let last: unknown, same = 0; same < 5; ) {
    elsewhere.agent.script({ agentId: 'a' }, source(50).handler);
    client.send(to('a', 'x', { stream: true }));
    await client.answer();
    same = buffered(all) > 0 && Object.is(last, value()) ? same + 1 : 0;
    last = value();
  }
}

t.test(
  'a slow reader: the agent is not read beyond maxBufferedBytes, others notice nothing, all arrives in the end [F-39] [F-118] [F-120] [S-9] [S-10]',
  async (t) => {
    const all = await world(t, { maxBufferedBytes: MiB });
    const [slow, other] = [await all.connect(), await all.connect()];
    const { handler, taken, ended } = source(800);
    all.agent.script({ agentId: 'a' }, handler);
    tcpOf(slow).pause();
    slow.send(to('a', 'x', { id: 1, stream: true }));
    await settled(t, all, taken);
    t.ok(taken() < 600, `the agent could give ${taken()} of 800 pieces`);
    t.ok(buffered(all) < 2 * MiB, `${buffered(all)} bytes wait`);
    t.equal(textOf(await other.ask(to('b'))), 'b #1: hello');
    tcpOf(slow).resume();
    const frames = await slow.answer();
    await ended;
    t.equal(frames.length, 801);
    t.equal(streamedText(frames), KiB64.repeat(800));
    t.equal(frames.at(-1)?.type, 'done');
    t.equal(textOf(await slow.ask(to('b'))), 'b #1: hello');
  },
);

t.test('all streams of a slow reader are paused, also those that begin meanwhile', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024 });
  const client = await all.connect();
  const sources = [source(300), source(300), source(300)];
  for (const [index, { handler }] of sources.entries()) all.agent.script({ agentId: `a${index}` }, handler);
  tcpOf(client).pause();
  client.send(to('a0', 'x', { id: 0, stream: true }), to('a1', 'x', { id: 1, stream: true }));
  await settled(t, all, () => sources.map(({ taken }) => taken()).join());
  client.send(to('a2', 'x', { id: 2, stream: true }), to('b', 'x', { id: 3 }));
  await all.received(4);
  await settled(t, all, () => sources.map(({ taken }) => taken()).join());
  t.ok(
    sources.every(({ taken }) => taken() < 300),
    `${sources.map(({ taken }) => taken())}`,
  );
  t.ok(buffered(all) < MiB, `${buffered(all)} bytes wait`);
  tcpOf(client).resume();
  const frames: Frame[] = [];
  for (let ended = 0; ended < 4; ended++) frames.push(...(await client.answer()));
  for (const id of [0, 1, 2])
    t.equal(frames.filter((frame) => frame.id === id && frame.type === 'content').length, 300);
  t.match(
    frames.find(({ id }) => id === 3),
    { type: 'response' },
  );
});

t.test('a send that is let through while its client does not read waits, too', async (t) => {
  const allowed = deferred();
  const all = await world(t, {
    maxBufferedBytes: 64 * 1024,
    authorize: async (_identity, agentId) => {
      if (agentId === 'b') await allowed.promise;
      return true;
    },
  });
  const client = await all.connect();
  const [first, second] = [source(300), source(300)];
  all.agent.script({ agentId: 'a' }, first.handler);
  all.agent.script({ agentId: 'b' }, second.handler);
  tcpOf(client).pause();
  client.send(to('a', 'x', { id: 1, stream: true }), to('b', 'x', { id: 2, stream: true }));
  await settled(t, all, first.taken);
  allowed.resolve();
  await settled(t, all, second.taken);
  t.ok(second.taken() < 300, `the agent could give ${second.taken()} of 300 pieces`);
  const before = buffered(all);
  t.ok(before < MiB, `${before} bytes wait`);
  client.send({ type: 'cancel', id: 'none' }, { type: 'ping', id: 'p' });
  await all.received(4);
  t.equal(buffered(all), before, 'and what comes after it is kept');
  tcpOf(client).resume();
  const frames: Frame[] = [];
  while (frames.filter(({ type }) => type === 'done').length < 2) frames.push(...(await client.answer()));
  const isPong = ({ type }: Frame): boolean => type === 'pong';
  t.equal(frames.filter(isPong).length, 1);
  frames.splice(frames.findIndex(isPong), 1);
  t.equal(frames.length, 602);
});

t.test('a slow reader that is gone leaves nothing', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024 });
  const client = await all.connect();
  const { handler, taken } = source(10_000);
  all.agent.script({ agentId: 'a' }, handler);
  tcpOf(client).pause();
  client.send(to('a', 'x', { id: 1, stream: true }));
  await settled(t, all, taken);
  client.socket.terminate();
  await all.session.closed;
  t.match(all.agent.counters, { open: 0, running: 0, started: 1, ended: 1 });
});

t.test('a client that reads nothing and keeps sending is not answered without end', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024 });
  const client = await all.connect();
  tcpOf(client).pause();
  // Each ping is answered with as much as it says; nothing but the buffers of the kernel takes the answers.
  const ping = { type: 'ping', id: '€'.repeat(256) };
  let most = 0;
  const sent = 60_000;
  for (let i = 0; i < sent; i++) {
    client.send(ping);
    if (i % 500 === 0) {
      await new Promise(setImmediate);
      most = Math.max(most, buffered(all));
    }
  }
  await settled(t, all, () => buffered(all));
  most = Math.max(most, buffered(all));
  t.ok(most < 256 * 1024, `${most} bytes wait`);
  tcpOf(client).resume();
  t.equal((await client.closed).code, 4429);
});

t.test('frames of a slow reader are kept, in order, and answered when it reads [F-39] [F-120]', async (t) => {
  const all = await world(t, { maxBufferedBytes: 64 * 1024 });
  const client = await all.connect();
  const { handler, taken } = source(200);
  all.agent.script({ agentId: 'a' }, handler);
  tcpOf(client).pause();
  client.send(to('a', 'x', { id: 1, stream: true }));
  await settled(t, all, taken);
  t.ok(taken() < 200);
  client.send({ type: 'ping', id: 'p' }, to('b', 'x', { id: 2 }), { type: 'cancel', id: 1 }, { type: 'ping', id: 'q' });
  await all.received(5);
  tcpOf(client).resume();
  const frames: Frame[] = [];
  while (frames.at(-1)?.id !== 2) frames.push(await client.next());
  const others = frames.filter(({ type }) => type !== 'content');
  t.strictSame(
    others.map(({ type, id }) => [type, id]),
    [
      ['cancelled', 1],
      ['pong', 'p'],
      ['pong', 'q'],
      ['response', 2],
    ],
  );
  t.ok(taken() < 200, 'what was cancelled is not read any further');
});

t.test('a frame that is larger than maxBufferedBytes goes through', async (t) => {
  const all = await world(t, { maxBufferedBytes: 1 });
  const client = await all.connect();
  for (let turn = 1; turn <= 3; turn++) t.equal(textOf(await client.ask(to('a'))), `a #${turn}: hello`);
  client.send(to('a', 'one two three', { stream: true }), { type: 'ping' });
  t.equal(streamedText(await client.all(7)), 'a #4: one two three');
});

t.test('frames of one turn of the event loop leave in one write [S-12]', async (t) => {
  const all = await world(t);
  const raw = await all.connectRaw();
  const events = Array.from({ length: 50 }, (_, n) => `event: content\ndata: ${n}\n\n`);
  // One chunk of the agent's answer, so one turn at the relay.
  all.agent.script('chat.start', { events: [`${events.join('')}event: done\ndata: 1\n\n`], done: false });
  // Counted where they are written: what is read at once may have been written bit by bit.
  let writes = 0;
  const { socket } = all.session.request as unknown as {
    socket: Record<'_write' | '_writev', (...a: unknown[]) => void>;
  };
  for (const way of ['_write', '_writev'] as const) {
    const write = socket[way];
    socket[way] = function counted(...args) {
      writes += 1;
      write.apply(this, args);
    };
  }
  let received = '';
  const complete = deferred();
  raw.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1');
    if (received.includes('"done"')) complete.resolve();
  });
  const frame = Buffer.from(JSON.stringify({ agent_id: 'a', stream: true, message: { role: 'user', parts: [] } }));
  raw.write(Buffer.concat([Buffer.from([0x81, 0x80 | frame.length, 0, 0, 0, 0]), frame]));
  await complete.promise;
  t.equal(received.split('"content"').length - 1, 50);
  t.equal(writes, 1, 'pieces of an answer, and its end');
  writes = 0;
  const pongs = deferred();
  raw.on('data', () => {
    if (received.split('"pong"').length === 6) pongs.resolve();
  });
  raw.write(Buffer.concat(Array.from({ length: 5 }, () => maskedText('{"type":"ping"}'))));
  await pongs.promise;
  t.equal(writes, 1, 'whole answers');
  raw.destroy();
  await all.session.closed;
});
