import type { Duplex } from 'node:stream';
import { type Dispatcher, Pool } from 'undici';
import type { WebSocket } from 'ws';
import {
  type Agent,
  Chunks,
  type Client,
  DiscardHandler,
  type Frame,
  HEADERS,
  serveHandwritten,
  uncork,
} from './handwritten.js';
import type { Endpoints } from './options.js';

/** The fastest relay that uses `ws` and `undici` as documented: `send`, and a `Pool`. */
export function start(endpoints: Endpoints): Promise<number> {
  return serveHandwritten(endpoints, {
    agent: (url) => new PoolAgent(url),
    json: ({ socket }) => new JsonHandler(socket),
    stream: (client, frame) => new StreamHandler(client, frame),
    discard: () => new DiscardHandler(),
  });
}

class PoolAgent implements Agent {
  readonly #pool: Pool;
  readonly #path: string;

  constructor(url: URL) {
    // Fewer than 16 connections, pipelining, and more than 64 connections are all slower.
    this.#pool = new Pool(url.origin, { connections: 64, headersTimeout: 0, bodyTimeout: 0 });
    this.#path = url.pathname;
  }

  ask(body: string, handler: Dispatcher.DispatchHandler): void {
    this.#pool.dispatch({ path: this.#path, method: 'POST', headers: HEADERS, body }, handler);
  }
}

/** Forwards the bytes of a JSON answer without decoding them. */
class JsonHandler extends DiscardHandler {
  readonly #socket: WebSocket;
  readonly #chunks = new Chunks();

  constructor(socket: WebSocket) {
    super();
    this.#socket = socket;
  }

  override onData(chunk: Buffer): boolean {
    this.#chunks.add(chunk);
    return true;
  }

  override onComplete(): void {
    this.#socket.send(this.#chunks.all(), { binary: false });
  }
}

/** Copies what is between `data: ` and a blank line into a frame. */
class StreamHandler extends DiscardHandler {
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
    // The frames of one chunk leave in one write.
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
