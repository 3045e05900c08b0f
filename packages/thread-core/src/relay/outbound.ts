import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';

/** Streams that were written to in this turn of the event loop, and hold it back until the turn's end. */
let corked: Duplex[] = [];

function uncorkAll(): void {
  const streams = corked;
  corked = [];
  for (const stream of streams) stream.uncork();
}

/**
 * What a session writes. Frames of one turn leave in one write. When more than `limit` bytes wait for a slow reader,
 * `isFull` is true and `onFull` is called, and `onDrain` once they have gone.
 */
export class Outbound {
  isFull = false;
  readonly #socket: WebSocket;
  readonly #stream: Duplex | undefined;
  readonly #limit: number;
  readonly #owner: OutboundOwner;

  /** `stream` is the connection under the socket, where it is known. */
  constructor(socket: WebSocket, stream: Duplex | undefined, limit: number, owner: OutboundOwner) {
    this.#socket = socket;
    this.#stream = stream;
    this.#limit = limit;
    this.#owner = owner;
  }

  write(frame: string): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    this.#cork();
    if (this.isFull || socket.bufferedAmount + frame.length <= this.#limit) {
      socket.send(frame);
      return;
    }
    this.isFull = true;
    socket.send(frame, () => {
      this.isFull = false;
      this.#owner.onDrain();
    });
    this.#owner.onFull();
  }

  #cork(): void {
    const stream = this.#stream;
    if (stream === undefined || stream.writableCorked > 0) return;
    stream.cork();
    if (corked.push(stream) === 1) process.nextTick(uncorkAll);
  }
}

export interface OutboundOwner {
  onFull(): void;
  onDrain(): void;
}
