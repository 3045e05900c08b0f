import type { Duplex } from 'node:stream';
import type { Bytes } from '../../bytes.js';
import type { RelaySocket } from '../connection/socket.js';

/** Writes frames to a client. */
export interface FrameWriting {
  /** Writes a frame at once, after those that wait for the end of the turn. */
  write(frame: Bytes): void;
  /** Writes a frame together with what follows in this turn of the event loop. */
  writeSoon(frame: Bytes): void;
  /** Writes a piece of an answer by the end of the turn, in one write with the pieces that follow it. */
  writePart(frame: Bytes): void;
}

export interface FrameWriterOwner {
  /** More than the limit waits for the client to read. */
  onFull(): void;
  /** It has been written. */
  onDrain(): void;
}

/** Streams that were corked in this turn of the event loop. */
let corked: Duplex[] = [];

function uncorkAll(): void {
  const streams = corked;
  corked = [];
  for (const stream of streams) stream.uncork();
}

/** Frames of this turn that are not written yet, headers included. They all belong to `batcher`. */
let batch = '';
let batcher: FrameWriter | undefined;
/** How long the batch may become. */
let room = 0;
let isTickScheduled = false;

function writeBatch(): void {
  isTickScheduled = false;
  batcher?.flush();
}

/** Options for `ws`: buffers are text. */
const TEXT = { binary: false };

/**
 * Writes the frames of one connection. It makes the WebSocket frames itself, which costs a fraction of `ws`'s `send`.
 * When more than `limit` bytes wait for a slow client, `isFull` is true and `onFull` is called; `onDrain` follows.
 */
export class FrameWriter implements FrameWriting {
  isFull = false;
  readonly #socket: RelaySocket;
  readonly #stream: Duplex | undefined;
  readonly #limit: number;
  readonly #owner: FrameWriterOwner;
  /** Frames may bypass `ws`: no extension has to see them, and the stream is the WebSocket's own. */
  readonly #mayBatch: boolean;

  /** `stream`: the TCP connection below the WebSocket, if it is known. */
  constructor(socket: RelaySocket, stream: Duplex | undefined, limit: number, owner: FrameWriterOwner) {
    this.#socket = socket;
    this.#stream = stream;
    this.#limit = limit;
    this.#owner = owner;
    const { extensions, _socket } = socket as RelaySocket & { _socket?: unknown };
    this.#mayBatch = extensions === '' && _socket !== undefined && _socket === stream;
  }

  /** Bytes that were written and that the operating system has not accepted yet. */
  get backlog(): number {
    // A pending write counts in full until all of it is accepted; only the handle knows how much is left.
    const { _handle: handle } = (this.#stream ?? {}) as { _handle?: { writeQueueSize?: number } | null };
    return (handle?.writeQueueSize ?? 0) + this.#socket.bufferedAmount;
  }

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

  writeSoon(frame: Bytes): void {
    this.#cork();
    this.write(frame);
  }

  /** Many pieces cost a fraction of `writeSoon`. A piece is lost if the application closes the socket in the same turn. */
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
    room = this.isFull ? MAX_BATCH_LENGTH : Math.min(MAX_BATCH_LENGTH, left);
    if (isTickScheduled) return;
    isTickScheduled = true;
    process.nextTick(writeBatch);
  }

  /** Writes what waits for the end of the turn. */
  flush(): void {
    if (batcher !== this) return;
    const frames = batch;
    batch = '';
    batcher = undefined;
    if (this.#socket.readyState === this.#socket.OPEN) this.#writeFrames(frames);
  }

  #writeFrames(frames: string): void {
    const stream = this.#stream as Duplex;
    // What has to wait is copied, because a slice would keep the agent's whole chunk alive.
    if (stream.writableLength > 0) stream.write(Buffer.from(frames, 'latin1'));
    else stream.write(frames, 'latin1');
  }

  #overflows(frame: Bytes): boolean {
    if (this.isFull) return false;
    // Frames that bypass `ws` wait in the stream.
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

/** A longer batch is written before the end of the turn. */
const MAX_BATCH_LENGTH = 65_536;

/** Headers by the length of their frames. */
const headers: string[] = new Array(1024);

/** The header of an unmasked text frame with FIN set (RFC 6455, 5.2). */
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
