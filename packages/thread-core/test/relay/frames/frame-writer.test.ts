import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { type Bytes, encode } from '../../../src/bytes.js';
import { FrameWriter } from '../../../src/relay/frames/frame-writer.js';
import { splitFrames } from '../../../src/relay/frames/websocket-frames.js';

interface Ends {
  /** The server's end, and what writes to it. */
  socket: WebSocket;
  out: FrameWriter;
  /** What `out` told its owner. */
  told: string[];
  /** The frames of its batches. */
  batched: Bytes[];
  client: WebSocket;
  /** What has arrived at the client so far. */
  received: string[];
  /** The code with which the client's end was closed, and what it stumbled over. */
  closed: Promise<{ code: number; error: unknown }>;
}

/** Connects two sockets, the server's written to by an `FrameWriter`. */
async function connect(t: Test, { limit = 1024 * 1024, deflate = false } = {}): Promise<Ends> {
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: deflate });
  const told: string[] = [];
  const batched: Bytes[] = [];
  const opened = new Promise<Pick<Ends, 'socket' | 'out'>>((resolve) => {
    sockets.once('connection', (socket, request) => {
      const owner = {
        onBatch: (text: string) => batched.push(...splitFrames(text)),
        onFull: () => told.push('full'),
        onDrain: () => told.push('drain'),
        onFailure: () => told.push('failure'),
      };
      resolve({ socket, out: new FrameWriter(socket, request.socket, limit, owner) });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const received: string[] = [];
  let error: unknown;
  client.on('message', (data) => received.push(String(data)));
  client.on('error', (err) => {
    error = err;
  });
  const closed = once(client, 'close').then(([code]) => ({ code: code as number, error }));
  t.teardown(() => {
    client.terminate();
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  await once(client, 'open');
  return { ...(await opened), told, batched, client, received, closed };
}

/** All that was written has come when the answer to this has. */
async function settle({ socket, client }: Ends): Promise<void> {
  const answered = once(socket, 'pong');
  socket.ping();
  await answered;
  const back = once(client, 'pong');
  client.ping();
  await back;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('frames of every length arrive as they were, in their order', async (t) => {
  for (const deflate of [false, true]) {
    const ends = await connect(t, { deflate });
    const lengths = [0, 1, 41, 42, 124, 125, 126, 127, 1000, 16_382, 16_383, 16_384, 21_844, 65_535, 65_536, 100_000];
    const frames = lengths.flatMap((length) =>
      ['a', 'é', '漢', '😀', '\ud800', '\u0000'].map((letter) => letter.repeat(length / letter.length)),
    );
    const inBatches: Bytes[] = [];
    for (const [index, frame] of frames.entries()) {
      if (ends.out.write(encode(frame))) inBatches.push(encode(frame));
      if (index % 7 === 6) await nextTurn();
    }
    await nextTurn();
    await settle(ends);
    t.equal(ends.received.length, frames.length);
    // A lone surrogate has no UTF-8, and comes as U+FFFD.
    const expected = frames.map((frame) => Buffer.from(frame).toString());
    t.ok(
      expected.every((frame, index) => frame === ends.received[index]),
      `deflate: ${deflate}`,
    );
    t.strictSame(ends.batched, inBatches, 'those that were in a batch, and no others');
    t.equal(inBatches.length > 0, !deflate);
  }
});

t.test('what is written to two connections in one turn reaches each', async (t) => {
  const [one, two] = [await connect(t), await connect(t)];
  for (let n = 0; n < 10; n += 1) {
    one.out.write(encode(`one ${n}`));
    two.out.write(encode(`two ${n}`));
  }
  one.out.write(encode('one, the last'));
  await nextTurn();
  await settle(one);
  await settle(two);
  t.same(one.received, [...Array.from({ length: 10 }, (_, n) => `one ${n}`), 'one, the last']);
  t.same(
    two.received,
    Array.from({ length: 10 }, (_, n) => `two ${n}`),
  );
});

t.test('frames of one turn leave in one write', async (t) => {
  const { out, socket } = await connect(t);
  const stream = (socket as unknown as { _socket: { write: (...args: unknown[]) => boolean } })._socket;
  const writes = t.capture(stream, 'write', stream.write.bind(stream));
  for (let n = 0; n < 100; n += 1) out.write(encode(`part ${n}`));
  out.write(encode('the last'));
  await nextTurn();
  t.equal(writes().length, 1);
});

t.test('nothing is written behind a close frame', async (t) => {
  const ends = await connect(t);
  ends.out.write(encode('a part'));
  await nextTurn();
  ends.out.write(encode('a part that the close overtakes'));
  ends.socket.close(4000);
  ends.out.write(encode('too late'));
  ends.out.write(encode('too late'));
  const { code, error } = await ends.closed;
  t.same({ code, error }, { code: 4000, error: undefined });
  t.same(ends.received, ['a part']);
});

t.test('frames that are not read fill the writer, and all of them arrive once they are read', async (t) => {
  const limit = 50_000;
  const ends = await connect(t, { limit });
  ends.client.pause();
  const frames: string[] = [];
  while (!ends.out.isFull && frames.length < 100_000) {
    for (let n = 0; n < 20; n += 1) {
      const frame = `${frames.length} ${'x'.repeat(1000)}`;
      frames.push(frame);
      ends.out.write(encode(frame));
      if (ends.out.isFull) break;
    }
    await nextTurn();
  }
  t.same(ends.told, ['full']);
  const { bufferedAmount } = ends.socket;
  t.ok(bufferedAmount <= limit + 2000, `${bufferedAmount} bytes wait`);
  frames.push('while it is full');
  ends.out.write(encode('while it is full'));
  ends.client.resume();
  while (ends.out.isFull) await nextTurn();
  await settle(ends);
  t.same(ends.told, ['full', 'drain']);
  t.equal(ends.received.length, frames.length);
  t.same(ends.received, frames);
});
