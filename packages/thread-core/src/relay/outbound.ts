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

/** Frames of this turn that are not written yet: all of one connection. */
const batch = Buffer.allocUnsafeSlow(65_536);
let batched = 0;
let batcher: Outbound | undefined;
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
    if (batcher === this) {
      const isAdded = !isFilled && this.#add(frame);
      this.flush();
      if (isAdded) return;
    } else if (this.#mayBatch && !isFilled && frame.length <= LONGEST) {
      const bytes = Buffer.allocUnsafe(headerOf(frame) + frame.length);
      put(frame, bytes, 0);
      this.#stream?.write(bytes);
      return;
    }
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
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    if (!this.#mayBatch || this.#overflows(frame) || !this.#add(frame)) return this.write(frame);
    if (isTickAwaited) return;
    isTickAwaited = true;
    process.nextTick(writeBatch);
  }

  /** Writes what was kept for the end of the turn. */
  flush(): void {
    if (batcher !== this) return;
    const frames = Buffer.allocUnsafe(batched);
    batch.copy(frames, 0, 0, batched);
    batched = 0;
    batcher = undefined;
    if (this.#socket.readyState === this.#socket.OPEN) this.#stream?.write(frames);
  }

  #overflows(frame: Bytes): boolean {
    if (this.isFull) return false;
    // Where nothing is given to `ws`, nothing waits there.
    const waiting = this.#mayBatch ? (this.#stream as Duplex).writableLength : this.#socket.bufferedAmount;
    return waiting + (batcher === this ? batched : 0) + frame.length > this.#limit;
  }

  #cork(): void {
    const stream = this.#stream;
    if (stream === undefined || stream.writableCorked > 0) return;
    stream.cork();
    if (corked.push(stream) === 1) process.nextTick(uncorkAll);
  }

  /** Puts a frame behind those of this turn. False where it is too long. */
  #add(frame: Bytes): boolean {
    const size = headerOf(frame) + frame.length;
    if (size > batch.length) return false;
    if (batcher !== this || batched + size > batch.length) batcher?.flush();
    batcher = this;
    put(frame, batch, batched);
    batched += size;
    return true;
  }
}

/** Longer frames have another header, and are left to `ws`. */
const LONGEST = 0xffff;

function headerOf({ length }: Bytes): number {
  return length < 126 ? 2 : 4;
}

/** Writes a frame: FIN and text, unmasked (RFC 6455, 5.2). */
function put(frame: Bytes, bytes: Buffer, at: number): void {
  const { length } = frame;
  const header = headerOf(frame);
  bytes[at] = 0x81;
  bytes[at + 1] = header === 2 ? length : 126;
  if (header === 4) {
    bytes[at + 2] = length >> 8;
    bytes[at + 3] = length & 0xff;
  }
  bytes.write(frame, at + header, 'latin1');
}

export interface OutboundOwner {
  onFull(): void;
  onDrain(): void;
}
