import type { Duplex } from 'node:stream';
import { type Bytes, flatten } from '../../bytes.js';
import type { RelaySocket } from '../connection/socket.js';
import { headerOf } from './websocket-frames.js';

export interface FrameWriterOwner {
  /** These frames are written now, each with its WebSocket header. */
  onBatch(frames: string): void;
  /** More than the limit waits for the client to read. */
  onFull(): void;
  /** It has been written. */
  onDrain(): void;
  /** The socket threw. */
  onFailure(error: unknown): void;
}

/** What the socket of Node knows of the operating system's. */
interface Handle {
  bytesWritten?: number;
  /** The part of it that was not accepted yet. */
  writeQueueSize?: number;
}

/** Writers with frames that wait for the end of the turn. */
let waiting: FrameWriter[] = [];

function flushAll(): void {
  const writers = waiting;
  waiting = [];
  for (const writer of writers) writer.flush();
}

/** A longer batch is written before the end of the turn. */
const MAX_BATCH_LENGTH = 65_536;

/** Options for `ws`: buffers are text. */
const TEXT = { binary: false };

/**
 * Writes the frames of one connection. It makes the WebSocket frames itself, which costs a fraction of `ws`'s `send`, and
 * writes at the end of each turn of the event loop: first everything that has arrived is read, then everything is written.
 * A client that sleeps is woken once for all its frames, which costs as much as the rest of a write.
 * When more than `limit` bytes wait for a slow client, `isFull` is true and `onFull` is called; `onDrain` follows.
 */
export class FrameWriter {
  isFull = false;
  /** Frames of this turn that are not written yet, with their headers. */
  #batch = '';
  /** How long the batch may become. */
  #room = 0;
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
    return (this.#handle?.writeQueueSize ?? 0) + this.#socket.bufferedAmount;
  }

  /** Bytes that the operating system has accepted, as far as the handle knows. */
  get accepted(): number {
    const { bytesWritten = 0, writeQueueSize = 0 } = this.#handle ?? {};
    return bytesWritten - writeQueueSize;
  }

  /** That of the TCP connection: the one of TLS counts a write in full until all of it is accepted. */
  get #handle(): Handle | null | undefined {
    const { _handle: handle } = (this.#stream ?? {}) as { _handle?: (Handle & { _parent?: Handle | null }) | null };
    return handle?._parent ?? handle;
  }

  /**
   * Writes a frame together with what follows in this turn of the event loop. Returns whether it is in a batch, for which
   * `onBatch` will be called.
   */
  write(frame: Bytes): boolean {
    if (this.#batch !== '') {
      if (this.#batch.length + frame.length <= this.#room) {
        this.#batch += headerOf(frame) + frame;
        return true;
      }
      this.flush();
    }
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return false;
    if (this.#overflows(frame)) this.#fill(frame);
    else if (this.#mayBatch) return this.#startBatch(frame);
    else this.#send(frame);
    return false;
  }

  /** Writes what waits for the end of the turn. */
  flush(): void {
    const frames = this.#batch;
    if (frames === '') return;
    this.#batch = '';
    const isOpen = this.#socket.readyState === this.#socket.OPEN;
    // What is written becomes one piece. What is not is made one, because parts of it would keep the agent's chunks in memory.
    this.#owner.onBatch(isOpen ? frames : flatten(frames));
    if (!isOpen) return;
    const stream = this.#stream as Duplex;
    try {
      // What has to wait is copied, because a slice would keep the agent's whole chunk alive.
      if (stream.writableLength > 0) stream.write(Buffer.from(frames, 'latin1'));
      else stream.write(frames, 'latin1');
    } catch (error) {
      this.#owner.onFailure(error);
    }
  }

  #startBatch(frame: Bytes): true {
    const { writableLength } = this.#stream as Duplex;
    this.#room = this.isFull ? MAX_BATCH_LENGTH : Math.min(MAX_BATCH_LENGTH, this.#limit - writableLength);
    this.#batch = headerOf(frame) + frame;
    if (waiting.push(this) === 1) setImmediate(flushAll);
    return true;
  }

  /** Writes the frame that exceeds the limit. */
  #fill(frame: Bytes): void {
    this.isFull = true;
    this.#send(frame, () => {
      this.isFull = false;
      this.#owner.onDrain();
    });
    this.#owner.onFull();
  }

  /** What writes a frame may be a microtask or a timer, where nothing catches what the socket throws. */
  #send(frame: Bytes, onSent?: () => void): void {
    try {
      this.#socket.send(Buffer.from(frame, 'latin1'), TEXT, onSent);
    } catch (error) {
      this.#owner.onFailure(error);
    }
  }

  #overflows(frame: Bytes): boolean {
    if (this.isFull) return false;
    // Frames that bypass `ws` wait in the stream.
    const unsent = this.#mayBatch ? (this.#stream as Duplex).writableLength : this.#socket.bufferedAmount;
    return unsent + frame.length > this.#limit;
  }
}
