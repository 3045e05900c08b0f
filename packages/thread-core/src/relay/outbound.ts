import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Bytes } from '../bytes.js';

/** Streams that were written to in this turn of the event loop, and hold it back until the turn's end. */
let corked: Duplex[] = [];

function uncorkAll(): void {
  const streams = corked;
  corked = [];
  for (const stream of streams) stream.uncork();
}

/** Frames of this turn that are not written yet, with their headers: all of one connection. */
let batch = '';
let batcher: Outbound | undefined;
/** How long they may become together. */
let room = 0;
let isTickAwaited = false;

function writeBatch(): void {
  isTickAwaited = false;
  batcher?.flush();
}

/** What `ws` is to make of a buffer. */
const TEXT = { binary: false };

/**
 * What a session writes. It makes its frames itself, which costs a fraction of what `send` takes. When more than
 * `limit` bytes wait for a slow reader, `isFull` is true and `onFull` is called, and `onDrain` once they have gone.
 */
export class Outbound {
  isFull = false;
  readonly #socket: WebSocket;
  readonly #stream: Duplex | undefined;
  readonly #limit: number;
  readonly #owner: OutboundOwner;
  /** Frames can be written past `ws`: no extension has to see them, and the connection is the socket's own. */
  readonly #mayBatch: boolean;

  /** `stream` is the connection under the socket, where it is known. */
  constructor(socket: WebSocket, stream: Duplex | undefined, limit: number, owner: OutboundOwner) {
    this.#socket = socket;
    this.#stream = stream;
    this.#limit = limit;
    this.#owner = owner;
    const { extensions, _socket } = socket as WebSocket & { _socket?: unknown };
    this.#mayBatch = extensions === '' && _socket !== undefined && _socket === stream;
  }

  /** Bytes that were written, and that the system has not taken to send. */
  get backlog(): number {
    // What is being written counts as a whole until all of it is gone, but for this.
    const { _handle: handle } = (this.#stream ?? {}) as { _handle?: { writeQueueSize?: number } | null };
    return (handle?.writeQueueSize ?? 0) + this.#socket.bufferedAmount;
  }

  /** Writes a frame at once, with those before it that wait for the end of the turn. */
  write(frame: Bytes): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    const isFilled = this.#overflows(frame);
    const isBatched = batcher === this;
    if (this.#mayBatch && !isFilled) {
      if (!isBatched) return this.#writeFrames(headerOf(frame) + frame);
      batch += headerOf(frame) + frame;
      return this.flush();
    }
    if (isBatched) this.flush();
    const bytes = Buffer.from(frame, 'latin1');
    if (!isFilled) return socket.send(bytes, TEXT);
    this.isFull = true;
    socket.send(bytes, TEXT, () => {
      this.isFull = false;
      this.#owner.onDrain();
    });
    this.#owner.onFull();
  }

  /** Writes a frame, and holds it back to the end of the turn, so that it leaves with what follows until then. */
  writeSoon(frame: Bytes): void {
    this.#cork();
    this.write(frame);
  }

  /**
   * Writes a piece of an answer, by the end of the turn and in one piece with those that follow: for many that costs a
   * fraction of what `writeSoon` takes. Where somebody else closes the socket in the same turn, it is not written.
   */
  writePart(frame: Bytes): void {
    if (batcher === this && batch.length + frame.length <= room) batch += headerOf(frame) + frame;
    else this.#startBatch(frame);
  }

  #startBatch(frame: Bytes): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    if (!this.#mayBatch || this.#overflows(frame)) return this.write(frame);
    batcher?.flush();
    batcher = this;
    batch = headerOf(frame) + frame;
    const left = this.#limit - (this.#stream as Duplex).writableLength;
    room = this.isFull ? MOST_BATCHED : Math.min(MOST_BATCHED, left);
    if (isTickAwaited) return;
    isTickAwaited = true;
    process.nextTick(writeBatch);
  }

  /** Writes what was kept for the end of the turn. */
  flush(): void {
    if (batcher !== this) return;
    const frames = batch;
    batch = '';
    batcher = undefined;
    if (this.#socket.readyState === this.#socket.OPEN) this.#writeFrames(frames);
  }

  /** A string is put together from its pieces only where it goes to the system. */
  #writeFrames(frames: string): void {
    const stream = this.#stream as Duplex;
    // What has to wait is not to keep its pieces, and all of the agent's text that they were cut from.
    if (stream.writableLength > 0) stream.write(Buffer.from(frames, 'latin1'));
    else stream.write(frames, 'latin1');
  }

  #overflows(frame: Bytes): boolean {
    if (this.isFull) return false;
    // Where nothing is given to `ws`, nothing waits there.
    const waiting = this.#mayBatch ? (this.#stream as Duplex).writableLength : this.#socket.bufferedAmount;
    return waiting + (batcher === this ? batch.length : 0) + frame.length > this.#limit;
  }

  #cork(): void {
    const stream = this.#stream;
    if (stream === undefined || stream.writableCorked > 0) return;
    stream.cork();
    if (corked.push(stream) === 1) process.nextTick(uncorkAll);
  }
}

/** More than this does not wait for the end of a turn. */
const MOST_BATCHED = 65_536;

/** Headers that were made before, by the length of their frames. */
const headers: string[] = new Array(1024);

/** The header of a frame: FIN and text, unmasked (RFC 6455, 5.2). */
function headerOf({ length }: Bytes): string {
  if (length >= headers.length) return makeHeader(length);
  headers[length] ??= makeHeader(length);
  return headers[length];
}

function makeHeader(length: number): string {
  if (length < 126) return String.fromCharCode(0x81, length);
  if (length <= 0xffff) return String.fromCharCode(0x81, 126, length >> 8, length & 0xff);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(length));
  return `\x81\x7f${size.toString('latin1')}`;
}

export interface OutboundOwner {
  onFull(): void;
  onDrain(): void;
}
