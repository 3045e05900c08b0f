// A connection that ends while its answer is not read: undici 7 throws in the socket's own listener then, which ends the
// process (https://github.com/nodejs/undici/issues/5360).
import type net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { StreamInterruptedError } from '../../src/protocol/errors.js';
import { answer, chunk, drain, event, LAST_CHUNK, pair, piece, type Reply, START, STREAM } from './support.js';

const COUNT = 500;
/** No `done` comes, after which the client would read on to keep the connection. */
const BODY = Array.from({ length: COUNT }, (_, at) => event('content', piece(`${at}`))).join('');
const GZIP = gzipSync(BODY);
const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n';

/** Answers after which the connection is not used again, so that its end may be the end of the body. */
const BODIES: Record<string, Buffer> = {
  'a body without a length': Buffer.from(`${HEAD}connection: close\r\n\r\n${BODY}`),
  'a body of HTTP/1.0': Buffer.from(`${HEAD.replace('1.1', '1.0')}\r\n${BODY}`),
  'a body with a length': Buffer.from(`${HEAD}connection: close\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`),
  'a chunked body': Buffer.concat([
    Buffer.from(`${HEAD}connection: close\r\ntransfer-encoding: chunked\r\n\r\n`),
    chunk(BODY),
    Buffer.from(LAST_CHUNK),
  ]),
  'a compressed body': Buffer.concat([
    Buffer.from(`${HEAD}connection: close\r\ncontent-encoding: gzip\r\ncontent-length: ${GZIP.length}\r\n\r\n`),
    GZIP,
  ]),
};

const [unframed = Buffer.of(), ofHttp10 = Buffer.of()] = Object.values(BODIES);
/** Nothing tells their end from a broken connection. */
const UNFRAMED = [unframed, ofHttp10];

/** Writes the head and the first bytes of the body, and the rest when the client asks for something else. */
function inTwo(bytes: Buffer, end: (socket: net.Socket, rest: Buffer) => void): Reply[] {
  let first: net.Socket | undefined;
  const cut = bytes.indexOf('\r\n\r\n') + 400;
  return [
    (socket) => {
      first = socket;
      socket.write(bytes.subarray(0, cut));
    },
    (socket) => {
      end(first as net.Socket, bytes.subarray(cut));
      socket.write(answer());
    },
    answer(),
  ];
}

/** The rest, and the end a moment later, so that the client has read all of the body. */
async function endLater(socket: net.Socket, rest: Buffer): Promise<void> {
  socket.write(rest);
  for (let turns = 0; turns < 20; turns++) await turn();
  socket.end();
}

for (const [what, bytes] of Object.entries(BODIES)) {
  for (const [how, end] of Object.entries({
    'at once': (socket: net.Socket, rest: Buffer) => socket.end(rest),
    later: endLater,
  })) {
    t.test(
      `[F-500] ${what} is read to its end, although its connection ends while it is paused (${how})`,
      async (t) => {
        const { peer, client } = await pair(t, inTwo(bytes, end));
        const stream = await client.chat.start(STREAM);
        await client.chat.start(START);
        // What is sent after the end of a connection comes after it.
        for (let round = 0; round < 10; round++) await client.chat.start(START);
        const { events, error } = await drain(stream);
        const pieces = events.filter(({ event }) => event === 'content');
        t.equal(pieces.length, COUNT);
        if (UNFRAMED.includes(bytes)) t.match(error, { code: -43104, message: /ended without done/ });
        else t.match([error, events.at(-1)], [undefined, { event: 'done' }]);
        await peer.until(() => peer.sockets[0]?.destroyed === true);
      },
    );
  }
}

t.test(
  '[F-500] a connection that is reset while its answer is paused ends that stream, and nothing else',
  async (t) => {
    const reset = (socket: net.Socket, rest: Buffer): void => {
      socket.write(rest, () => socket.resetAndDestroy());
    };
    const { client } = await pair(t, inTwo(unframed, reset));
    const stream = await client.chat.start(STREAM);
    for (let round = 0; round < 10; round++) await client.chat.start(START);
    const { events, error } = await drain(stream);
    t.ok(events.length > 0);
    t.type(error, StreamInterruptedError);
  },
);

t.test('[F-500] a paused answer whose connection has ended can be cancelled', async (t) => {
  const { peer, client } = await pair(t, inTwo(unframed, endLater));
  const stream = await client.chat.start(STREAM);
  for (let round = 0; round < 10; round++) await client.chat.start(START);
  stream.cancel();
  await peer.until(() => peer.sockets[0]?.destroyed === true);
  await client.chat.start(START);
});
