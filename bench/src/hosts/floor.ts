import type { Duplex } from 'node:stream';
import { Client as Connection, type Dispatcher } from 'undici';
import { type Agent, Chunks, DiscardHandler, type Frame, HEADERS, serveHandwritten, uncork } from './handwritten.js';
import type { Endpoints } from './options.js';

/** The baseline: the fastest relay that could be written on `ws` and `undici`, bypassing `ws.send` and undici's `Pool`. */
export function start(endpoints: Endpoints): Promise<number> {
  return serveHandwritten(endpoints, {
    agent: (url) => new ConnectionPool(url),
    json: ({ connection }) => new JsonHandler(connection),
    stream: ({ connection }, frame) => new StreamHandler(connection, frame),
    discard: () => new PooledHandler(),
  });
}

/** Fewer than 16 connections, pipelining, and more than 64 connections are all slower. */
const CONNECTIONS = 64;

/** Reuses the connection that was used last. undici's `Pool` searches all connections, and keeps all of them in use. */
class ConnectionPool implements Agent {
  readonly #origin: string;
  readonly #path: string;
  readonly #free: Connection[] = [];
  /** Connections whose answer ended in this turn of the event loop. undici cannot use them before the next turn anyway. */
  readonly #released: Connection[] = [];
  readonly #waiting: { body: string; handler: PooledHandler }[] = [];
  #count = 0;

  constructor(url: URL) {
    this.#origin = url.origin;
    this.#path = url.pathname;
  }

  ask(body: string, handler: PooledHandler): void {
    const connection = this.#free.pop() ?? this.#open();
    if (connection === undefined) this.#waiting.push({ body, handler });
    else this.#post(connection, body, handler);
  }

  release(connection: Connection): void {
    if (this.#released.push(connection) === 1) setImmediate(this.#reuse);
  }

  readonly #reuse = (): void => {
    this.#free.push(...this.#released);
    this.#released.length = 0;
    for (const { body, handler } of this.#waiting.splice(0, this.#free.length)) {
      this.#post(this.#free.pop() as Connection, body, handler);
    }
  };

  #post(connection: Connection, body: string, handler: PooledHandler): void {
    handler.pool = this;
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

/** Returns its connection to the pool when the answer is complete. */
class PooledHandler extends DiscardHandler {
  pool!: ConnectionPool;
  used!: Connection;

  override onComplete(): void {
    this.pool.release(this.used);
  }
  override onError(error: Error): void {
    super.onError(error);
    this.pool.release(this.used);
  }
}

/**
 * Frames are built here as strings with one character for each byte. `ws.send` takes twice as long: it reads options,
 * allocates a buffer for the header, and writes two chunks. Writing each frame into a buffer takes longer than one write of
 * the concatenated strings.
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

/** Answers of this turn of the event loop. Written one after the other, they wake the clients' process less often. */
let answers: [Duplex, string][] = [];

function writeAnswers(): void {
  const all = answers;
  answers = [];
  for (const [connection, frame] of all) connection.write(frame, 'latin1');
}

/** Forwards the bytes of a JSON answer without decoding them. */
class JsonHandler extends PooledHandler {
  readonly #connection: Duplex;
  readonly #chunks = new Chunks();

  constructor(connection: Duplex) {
    super();
    this.#connection = connection;
  }

  override onData(chunk: Buffer): boolean {
    this.#chunks.add(chunk);
    return true;
  }

  override onComplete(): void {
    super.onComplete();
    const body = this.#chunks.all().toString('latin1');
    if (answers.push([this.#connection, headerOf(body.length) + body]) === 1) setImmediate(writeAnswers);
  }
}

/** A pattern that no text here contains. */
const NO_MATCH = /\0/;

/** Copies what is between `data: ` and a blank line into a frame, without decoding it. */
class StreamHandler extends PooledHandler {
  readonly #connection: Duplex;
  readonly #content: string;
  readonly #done: string;
  #rest = '';

  constructor(connection: Duplex, { id, agent_id }: Frame) {
    super();
    this.#connection = connection;
    this.#content = `{"type":"content","id":${id},"agent_id":"${agent_id}","data":`;
    // A search makes V8 flatten the concatenated string, once instead of in each frame.
    NO_MATCH.test(this.#content);
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
      // The frames of one read leave in one write, however many chunks it has.
      this.#connection.cork();
      this.#connection.write(frames, 'latin1');
      process.nextTick(uncork, this.#connection);
    }
    this.#rest = start === text.length ? '' : text.slice(start);
    return true;
  }
}
