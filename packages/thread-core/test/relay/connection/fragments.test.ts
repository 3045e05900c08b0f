import type { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import t from 'tap';
import { until, type World, world } from '../helpers.js';

const TEXT = 0x01;
const CONTINUATION = 0x00;
const FINAL = 0x80;

/** A masked frame of the WebSocket protocol. */
function frame(first: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(14);
  head[0] = first;
  head[1] = 0x80 | 127;
  head.writeUInt32BE(payload.length, 6);
  return Buffer.concat([head, payload]);
}

/** A valid frame of a client, with so many bytes. */
function ping(bytes: number): Buffer {
  const text = Buffer.alloc(bytes, ' ');
  text.write('{"type":"ping"}');
  return text;
}

/** The message in fragments of so many bytes. An empty one ends it, as some libraries do. */
function fragmentsOf(message: Buffer, size: number): Buffer[] {
  const fragments: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    fragments.push(frame(at === 0 ? TEXT : CONTINUATION, message.subarray(at, at + size)));
  }
  return [...fragments, frame(FINAL | CONTINUATION, Buffer.alloc(0))];
}

/** What the relay sends to a connection: the texts, and the close code. */
function readAll(socket: Socket): { text: string; closeCode: number | undefined } {
  const read = { text: '', closeCode: undefined as number | undefined };
  socket.on('data', (data) => {
    if (data[0] === 0x88) read.closeCode = data.readUInt16BE(2);
    else read.text += data.toString('latin1');
  });
  return read;
}

/** Sends each part so that the relay reads it by itself, until the connection is closed. Returns how many were sent. */
async function sendEach(all: World, socket: Socket, parts: Iterable<Buffer>): Promise<number> {
  const server = all.request.socket;
  let expected = server.bytesRead;
  let sent = 0;
  for (const part of parts) {
    if (all.sockets[0]?.readyState !== 1) break;
    socket.write(part);
    expected += part.length;
    sent += 1;
    while (server.bytesRead < expected) await setImmediate();
  }
  return sent;
}

// Each fragment keeps all that was read with it, up to 64 KiB: with as much in pongs after each, 320 of them keep 20 MiB.
// By the defaults of ws there may be 16,384, which keep 1 GiB.
t.test('[F-532] one fragment more than a message may have closes the connection with 1008', async (t) => {
  const all = await world(t);
  const socket = await all.connectRaw();
  const read = readAll(socket);
  const fragments = fragmentsOf(ping(1000), 1);
  t.equal(await sendEach(all, socket, fragments), 64 + 1024 ** 2 / 4096 + 1);
  await until(() => read.closeCode !== undefined, 'the close frame');
  t.equal(read.closeCode, 1008);
  socket.destroy();
});

t.test('[F-532] the limit is for each message, and another largest frame has another one', async (t) => {
  const all = await world(t, { maxFrameBytes: 8192 });
  const socket = await all.connectRaw();
  const read = readAll(socket);
  for (let count = 1; count <= 3; count += 1) {
    await sendEach(all, socket, fragmentsOf(ping(65), 1));
    await until(() => read.text.split('pong').length === count + 1, 'the pong');
  }
  t.equal(await sendEach(all, socket, fragmentsOf(ping(66), 1)), 67);
  await until(() => read.closeCode === 1008, 'the close frame');
  socket.destroy();
});

// Each segment keeps some 360 bytes besides its own: 1 MiB byte by byte would keep 95 MiB before the limit of ws.
t.test('[F-533] a frame that arrives in too many small parts closes the connection with 1008', async (t) => {
  const all = await world(t, { maxFrameBytes: 8192 });
  const socket = await all.connectRaw();
  const read = readAll(socket);
  const bytes = frame(FINAL | TEXT, ping(8192));
  const parts = [bytes.subarray(0, 14), ...Array.from(bytes.subarray(14), (byte) => Buffer.of(byte))];
  t.equal(await sendEach(all, socket, parts), 1 + 1024 + 8192 / 256 + 1);
  await until(() => read.closeCode !== undefined, 'the close frame');
  t.equal(read.closeCode, 1008);
  socket.destroy();
});

t.test('[F-532] [F-533] the largest frame arrives in fragments of 4 KiB, and in segments of 536 bytes', async (t) => {
  const all = await world(t);
  const socket = await all.connectRaw();
  const read = readAll(socket);
  const message = ping(1024 ** 2);
  await sendEach(all, socket, fragmentsOf(message, 4096));
  await until(() => read.text.includes('pong'), 'the pong');
  read.text = '';
  const whole = frame(FINAL | TEXT, message);
  const segments = Array.from({ length: Math.ceil(whole.length / 536) }, (_, index) =>
    whole.subarray(index * 536, (index + 1) * 536),
  );
  await sendEach(all, socket, segments);
  await until(() => read.text.includes('pong'), 'the pong');
  t.equal(read.closeCode, undefined);
  socket.destroy();
});
