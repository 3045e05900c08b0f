// Answers that are compressed although we ask for `identity`.
import type net from 'node:net';
import * as zlib from 'node:zlib';
import t from 'tap';
import {
  answer,
  chunk,
  cut,
  DONE,
  drain,
  event,
  failure,
  http,
  LAST_CHUNK,
  pair,
  piece,
  START,
  STREAM,
  writeApart,
} from './support.js';

const body = (bytes: Buffer): string => bytes.toString().split('\r\n\r\n')[1] ?? '';
const TEXT = body(answer());
const EVENTS = Array.from({ length: 40 }, (_, at) => event('content', piece(`wörd ${at}`))).join('') + DONE;

const zstd: unknown = Reflect.get(zlib, 'zstdCompressSync');

const ENCODINGS: Record<string, (text: string) => Buffer> = {
  gzip: (text) => zlib.gzipSync(text),
  'x-gzip': (text) => zlib.gzipSync(text),
  GZIP: (text) => zlib.gzipSync(text),
  deflate: (text) => zlib.deflateSync(text),
  'deflate ': (text) => zlib.deflateRawSync(text),
  br: (text) => zlib.brotliCompressSync(text),
  identity: (text) => Buffer.from(text),
  ...(typeof zstd === 'function' ? { zstd: (text: string) => zstd(Buffer.from(text)) as Buffer } : {}),
};

function head(type: string, encoding: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: ${type}\r\ncontent-encoding: ${encoding}\r\ntransfer-encoding: chunked\r\n\r\n`;
}

/** Writes an answer in chunks of so many bytes. */
function inChunks(type: string, encoding: string, bytes: Buffer, length: number) {
  const chunks = [...cut(bytes, length)].map(chunk);
  return (socket: net.Socket) => writeApart(socket, [head(type, encoding), ...chunks, LAST_CHUNK]);
}

for (const [encoding, compress] of Object.entries(ENCODINGS)) {
  t.test(`JSON and streams in ${encoding} are read, cut anywhere`, async (t) => {
    for (const length of [1, 3, 50, 100_000]) {
      const { client, peer } = await pair(t, [
        inChunks('application/arc+json', encoding, compress(TEXT), length),
        inChunks('text/event-stream', encoding, compress(EVENTS), Math.max(length, 3)),
      ]);
      t.equal((await client.chat.start(START)).result.chat.chatId, 'c1');
      const { events, error } = await drain(await client.chat.start(STREAM));
      t.equal(error, undefined);
      t.equal(events.length, 41);
      t.match(events[39], { data: piece('wörd 39') });
      t.equal(peer.requests[0]?.headers['accept-encoding'], 'identity');
      await client.close();
    }
  });
}

t.test('events of a compressed stream are delivered as they arrive', async (t) => {
  let more = (): void => {};
  const { client } = await pair(t, (socket) => {
    const gzip = zlib.createGzip();
    socket.write(head('text/event-stream', 'gzip'));
    gzip.on('data', (bytes: Buffer) => socket.write(chunk(bytes)));
    gzip.on('end', () => socket.write(LAST_CHUNK));
    gzip.write(event('content', piece('first')));
    gzip.flush();
    more = () => gzip.end(event('content', piece('second')) + DONE);
  });
  const stream = await client.chat.start(STREAM);
  t.match((await stream.next()).value, { data: piece('first') });
  more();
  const { events } = await drain(stream);
  t.match(events, [{ data: piece('second') }, { event: 'done' }]);
});

t.test('a compressed stream can be paused and resumed', async (t) => {
  const text = Array.from({ length: 2000 }, (_, at) => event('content', piece(`${at}`))).join('') + DONE;
  const { client } = await pair(t, inChunks('text/event-stream', 'gzip', zlib.gzipSync(text), 1000));
  const stream = await client.chat.start(STREAM);
  let count = 0;
  for await (const { event } of stream) {
    if (event === 'content') count += 1;
    if (count % 500 === 0) await new Promise(setImmediate);
  }
  t.equal(count, 2000);
});

t.test('[F-207] limits count bytes after decompression', async (t) => {
  const bomb = zlib.gzipSync(Buffer.alloc(64 * 1024 * 1024));
  const { client } = await pair(t, [
    http(200, bomb, { 'content-type': 'application/json', 'content-encoding': 'gzip' }),
    http(200, bomb, { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' }),
  ]);
  const before = process.memoryUsage().rss;
  t.match(await failure(client.chat.start(START)), { code: -45004, reason: /an answer of more than 16777216 bytes/ });
  t.match(await failure(client.chat.start(STREAM)), { code: -45004, reason: /an event of more than 16777216 bytes/ });
  t.ok(process.memoryUsage().rss - before < 400 * 1024 * 1024);
});

/** A zstd frame that declares a window of so many bytes (as a power of two), with a text as it is. */
function zstdFrame(text: string, windowLog: number): Buffer {
  const [magic, descriptor, window] = [[0x28, 0xb5, 0x2f, 0xfd], 0, (windowLog - 10) << 3];
  const lastRawBlock = Buffer.alloc(3);
  lastRawBlock.writeUIntLE((Buffer.byteLength(text) << 3) | 1, 0, 3);
  return Buffer.concat([Buffer.from([...magic, descriptor, window]), lastRawBlock, Buffer.from(text)]);
}

t.test(
  '[F-548] a zstd answer that needs a window of more than 8 MiB is not read',
  { skip: typeof zstd !== 'function' && 'this Node has no zstd' },
  async (t) => {
    const headers = { 'content-type': 'application/arc+json', 'content-encoding': 'zstd' };
    for (const windowLog of [23, 24, 27]) {
      const { client } = await pair(t, http(200, zstdFrame(TEXT, windowLog), headers));
      const asked = client.chat.start(START);
      if (windowLog === 23) t.equal((await asked).result.chat.chatId, 'c1');
      else t.match(await failure(asked), { code: -41003, reason: /its zstd encoding is broken/ });
    }
  },
);

t.test('an encoding that is not known is named in the error', async (t) => {
  for (const encoding of ['compress', 'gzip, br', 'x-own']) {
    const { client } = await pair(t, [
      http(200, TEXT, { 'content-type': 'application/json', 'content-encoding': encoding }),
      http(200, EVENTS, { 'content-type': 'text/event-stream', 'content-encoding': encoding }),
    ]);
    for (const ask of [START, STREAM]) {
      const reason = `Agent "support" gave no ARC answer: HTTP 200, its content encoding is ${encoding}, which is not known here`;
      t.match(await failure(client.chat.start(ask)), { code: -41003, reason });
    }
  }
});

t.test('what is broken, or ends early, is an error', async (t) => {
  const gzip = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
  const sse = { 'content-type': 'text/event-stream', 'content-encoding': 'gzip' };
  const bytes = zlib.gzipSync(TEXT);
  const { client } = await pair(t, [
    http(200, bytes.subarray(0, -10), gzip),
    http(200, 'no gzip at all', gzip),
    http(200, zlib.gzipSync(EVENTS).subarray(0, -20), sse),
    (socket) => {
      const events = zlib.gzipSync(EVENTS, { flush: zlib.constants.Z_SYNC_FLUSH });
      socket.end(`${head('text/event-stream', 'gzip')}`);
      void events;
    },
  ]);
  for (let i = 0; i < 2; i++) {
    t.match(await failure(client.chat.start(START)), { code: -41003, reason: /its gzip encoding is broken$/ });
  }
  const early = await client.chat.start(STREAM).then(drain, (error: unknown) => ({ error }));
  t.match(early.error, { code: -43104, reason: /its gzip encoding is broken$/ });
  t.match(await failure(client.chat.start(STREAM)), { code: -43104 });
});

t.test('the part of a compressed stream that arrived before its connection broke is delivered first', async (t) => {
  const { client } = await pair(t, (socket) => {
    const gzip = zlib.createGzip();
    const pieces: Buffer[] = [];
    gzip.on('data', (bytes: Buffer) => pieces.push(bytes));
    gzip.write(event('content', piece('a')) + event('content', piece('b')));
    gzip.flush(() =>
      socket.end(Buffer.concat([Buffer.from(head('text/event-stream', 'gzip')), chunk(Buffer.concat(pieces))])),
    );
  });
  const { events, error } = await drain(await client.chat.start(STREAM));
  t.match(events, [{ data: piece('a') }, { data: piece('b') }]);
  t.match(error, { code: -43104, reason: /connection closed/ });
});

t.test('an empty answer may say that it is compressed', async (t) => {
  const { client } = await pair(t, http(200, '', { 'content-type': 'application/json', 'content-encoding': 'gzip' }));
  t.match(await failure(client.chat.start(START)), { code: -41003, reason: /an empty answer$/ });
});
