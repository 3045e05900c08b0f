import type { Duplex } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import type { WebSocket } from 'ws';
import { type Agent, type Client, type Frame, HEADERS, Nothing, Pieces, serveByHand, uncork } from './by-hand.js';
import type { Endpoints } from './options.js';

/** A relay as fast as it can be with what `ws` and `undici` have for it: `send`, and a `Pool`. */
export function start(endpoints: Endpoints): Promise<number> {
  return serveByHand(endpoints, {
    agent: (url) => new PoolAgent(url),
    whole: ({ socket }) => new Whole(socket),
    stream: (client, frame) => new Stream(client, frame),
    nothing: () => new Nothing(),
  });
}

class PoolAgent implements Agent {
  readonly #pool: Pool;
  readonly #path: string;

  constructor(url: URL) {
    // Fewer than 16 connections, or pipelining, are slower; so are more than 64.
    this.#pool = new Pool(url.origin, { connections: 64, headersTimeout: 0, bodyTimeout: 0 });
    this.#path = url.pathname;
  }

  ask(body: string, handler: Dispatcher.DispatchHandler): void {
    this.#pool.dispatch({ path: this.#path, method: 'POST', headers: HEADERS, body }, handler);
  }
}

/** Its bytes are sent as they came, never a string. */
class Whole extends Nothing {
  readonly #socket: WebSocket;
  readonly #pieces = new Pieces();

  constructor(socket: WebSocket) {
    super();
    this.#socket = socket;
  }

  override onData(chunk: Buffer): boolean {
    this.#pieces.add(chunk);
    return true;
  }

  override onComplete(): void {
    this.#socket.send(this.#pieces.all(), { binary: false });
  }
}

/** What stands between `data: ` and a blank line is spliced into a frame. */
class Stream extends Nothing {
  readonly #socket: WebSocket;
  readonly #connection: Duplex;
  readonly #content: string;
  readonly #done: string;
  #rest = '';

  constructor({ socket, connection }: Client, { id, agent_id }: Frame) {
    super();
    this.#socket = socket;
    this.#connection = connection;
    this.#content = `{"type":"content","id":${id},"agent_id":"${agent_id}","data":`;
    this.#done = `{"type":"done","id":${id},"agent_id":"${agent_id}","data":`;
  }

  override onData(chunk: Buffer): boolean {
    const text = this.#rest + chunk.toString();
    // What one chunk brings leaves in one write.
    this.#connection.cork();
    let start = 0;
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n', start)) {
      const data = text.indexOf('data: ', start) + 6;
      const head = text.startsWith('event: done', start) ? this.#done : this.#content;
      this.#socket.send(`${head}${text.slice(data, end)}}`);
      start = end + 2;
    }
    this.#rest = start === text.length ? '' : text.slice(start);
    process.nextTick(uncork, this.#connection);
    return true;
  }
}
