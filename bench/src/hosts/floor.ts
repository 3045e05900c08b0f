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
      { origin: this.#origin, path: this.#path, method: 'POST', headers: HEADERS, body } as Dispatcher.DispatchOptions,
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

/**
 * Frames are made here, as strings of which a character is a byte: `send` takes twice as long, for options, a header in a buffer
 * of its own, and a write of two. To write each into a buffer takes longer than to have Node write their sum.
 */
const headers: string[] = [];

/** The header of a text frame (RFC 6455, 5.2). */
function headerOf(length: number): string {
  headers[length] ??= makeHeader(length);
  return headers[length];
}

function makeHeader(length: number): string {
  if (length < 126) return String.fromCharCode(0x81, length);
  if (length < 65_536) return String.fromCharCode(0x81, 126, length >> 8, length & 255);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(length));
  return `\x81\x7f${size.toString('latin1')}`;
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
    const body = this.#pieces.all().toString('latin1');
    this.#connection.write(headerOf(body.length) + body, 'latin1');
  }
}

const NOTHING = /\0/;

/**
 * What stands between `data: ` and a blank line is spliced into a frame. Nothing is decoded and encoded.
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
    // To look into it puts it together, once and not in each of its frames.
    NOTHING.test(this.#content);
    this.#done = `{"type":"done","id":${id},"agent_id":"${agent_id}","data":`;
  }

  override onData(chunk: Buffer): boolean {
    const text = this.#rest + chunk.toString('latin1');
    let start = 0;
    let frames = '';
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n', start)) {
      const data = text.slice(text.indexOf('data: ', start) + 6, end);
      const head = text.startsWith('event: done', start) ? this.#done : this.#content;
      frames += `${headerOf(head.length + data.length + 1)}${head}${data}}`;
      start = end + 2;
    }
    if (start > 0) {
      // What one read brings leaves in one write, however many chunks it has.
      this.#connection.cork();
      this.#connection.write(frames, 'latin1');
      process.nextTick(uncork, this.#connection);
    }
    this.#rest = start === text.length ? '' : text.slice(start);
    return true;
  }
}
