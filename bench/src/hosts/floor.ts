import type { Duplex } from 'node:stream';
import { Client as Connection, type Dispatcher } from 'undici';
import { type Agent, type Frame, HEADERS, Nothing, Pieces, serveByHand, uncork } from './by-hand.js';
import type { Endpoints } from './options.js';

/** What the relay is held against: the fastest that could be written on `ws` and `undici`, past what they have for it. */
export function start(endpoints: Endpoints): Promise<number> {
  return serveByHand(endpoints, {
    agent: (url) => new Connections(url),
    whole: ({ connection }) => new Whole(connection),
    stream: ({ connection }, frame) => new Stream(connection, frame),
    nothing: () => new Free(),
  });
}

/** Fewer than 16 connections, or pipelining, are slower; so are more than 64. */
const CONNECTIONS = 64;

/** The connection that was used last is used next. `Pool` looks through all of them, and keeps all of them awake. */
class Connections implements Agent {
  readonly #origin: string;
  readonly #path: string;
  readonly #free: Connection[] = [];
  /** Those whose answer ended in this turn; before the next one undici would wait for it anyway. */
  readonly #resting: Connection[] = [];
  readonly #waiting: { body: string; handler: Free }[] = [];
  #count = 0;

  constructor(url: URL) {
    this.#origin = url.origin;
    this.#path = url.pathname;
  }

  ask(body: string, handler: Free): void {
    const connection = this.#free.pop() ?? this.#open();
    if (connection === undefined) this.#waiting.push({ body, handler });
    else this.#post(connection, body, handler);
  }

  left(connection: Connection): void {
    if (this.#resting.push(connection) === 1) setImmediate(this.#wake);
  }

  readonly #wake = (): void => {
    this.#free.push(...this.#resting);
    this.#resting.length = 0;
    for (const { body, handler } of this.#waiting.splice(0, this.#free.length)) {
      this.#post(this.#free.pop() as Connection, body, handler);
    }
  };

  #post(connection: Connection, body: string, handler: Free): void {
    handler.connections = this;
    handler.used = connection;
    connection.dispatch(
      { path: this.#path, method: 'POST', headers: HEADERS, body } as Dispatcher.DispatchOptions,
      handler,
    );
  }

  #open(): Connection | undefined {
    if (this.#count === CONNECTIONS) return undefined;
    this.#count += 1;
    return new Connection(this.#origin, { headersTimeout: 0, bodyTimeout: 0 });
  }
}

/** Lets go of its connection. */
class Free extends Nothing {
  connections!: Connections;
  used!: Connection;

  override onComplete(): void {
    this.connections.left(this.used);
  }
  override onError(error: Error): void {
    super.onError(error);
    this.connections.left(this.used);
  }
}

/** Frames are made here: `send` takes twice as long, for options, a header in a buffer of its own, and a write of two. */
const scratch = Buffer.allocUnsafeSlow(1024 * 1024);

/** Writes the header of a text frame (RFC 6455, 5.2) that ends where its text begins. Gives where the header begins. */
function writeHead(buffer: Buffer, end: number, length: number): number {
  const size = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const start = end - size;
  buffer[start] = 0x81;
  buffer[start + 1] = size === 2 ? length : size === 4 ? 126 : 127;
  if (size === 4) buffer.writeUInt16BE(length, start + 2);
  else if (size === 10) buffer.writeBigUInt64BE(BigInt(length), start + 2);
  return start;
}

/** Its bytes are sent as they came, never a string. */
class Whole extends Free {
  readonly #connection: Duplex;
  readonly #pieces = new Pieces();

  constructor(connection: Duplex) {
    super();
    this.#connection = connection;
  }

  override onData(chunk: Buffer): boolean {
    this.#pieces.add(chunk);
    return true;
  }

  override onComplete(): void {
    super.onComplete();
    const body = this.#pieces.all();
    const frame = Buffer.allocUnsafe(10 + body.length);
    frame.set(body, 10);
    this.#connection.write(frame.subarray(writeHead(frame, 10, body.length)));
  }
}

/**
 * What stands between `data: ` and a blank line is spliced into a frame. A byte is a character, so that nothing is decoded and encoded.
 */
class Stream extends Free {
  readonly #connection: Duplex;
  readonly #content: string;
  readonly #done: string;
  #rest = '';

  constructor(connection: Duplex, { id, agent_id }: Frame) {
    super();
    this.#connection = connection;
    this.#content = `{"type":"content","id":${id},"agent_id":"${agent_id}","data":`;
    this.#done = `{"type":"done","id":${id},"agent_id":"${agent_id}","data":`;
  }

  override onData(chunk: Buffer): boolean {
    const text = this.#rest + chunk.toString('latin1');
    let start = 0;
    let size = 0;
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n', start)) {
      const data = text.indexOf('data: ', start) + 6;
      const head = text.startsWith('event: done', start) ? this.#done : this.#content;
      // Of less than 64 KiB, as the events of the workloads are.
      const length = scratch.write(`${head}${text.slice(data, end)}}`, size + 4, 'latin1');
      const begin = writeHead(scratch, size + 4, length);
      if (begin > size) scratch.copyWithin(size, begin, begin + 2 + length);
      size += 4 - (begin - size) + length;
      start = end + 2;
    }
    if (size > 0) {
      // What one read brings leaves in one write, however many chunks it has.
      this.#connection.cork();
      this.#connection.write(Buffer.from(scratch.subarray(0, size)));
      process.nextTick(uncork, this.#connection);
    }
    this.#rest = start === text.length ? '' : text.slice(start);
    return true;
  }
}
