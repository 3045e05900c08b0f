import { createServer, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { Client, type Dispatcher } from 'undici';
import { type WebSocket, WebSocketServer } from 'ws';
import { listen } from './listen.js';
import { type Endpoints, endpointOf } from './options.js';

/**
 * What the relay is held against: the fastest relay that could be written on ws and undici. Nothing is checked, nothing
 * times out, no error is answered. Do not use it for anything else.
 */
export function start(endpoints: Endpoints): Promise<number> {
  const agents = endpoints.map((endpoint) => new Agent(new URL(endpoint)));
  const only = agents.length === 1 ? agents[0] : undefined;
  const byEndpoint = new Map(endpoints.map((endpoint, index) => [endpoint, agents[index]]));
  const agentOf = (agentId: string): Agent =>
    (only ?? byEndpoint.get(endpointOf(endpoints, agentId) as string)) as Agent;

  const server = createServer();
  const sockets = new WebSocketServer({
    server,
    perMessageDeflate: false,
    // A Set of all sockets that nobody reads.
    clientTracking: false,
    // JSON.parse would stumble over broken UTF-8 anyway, or not.
    skipUTF8Validation: true,
  });
  sockets.on('connection', (socket, request) => serveConnection(socket, request, agentOf));
  return listen(server);
}

interface Frame {
  id: number;
  agent_id: string;
  trace_id: string;
  message: unknown;
  stream?: true;
}

let ids = 0;

function serveConnection(socket: WebSocket, request: IncomingMessage, agentOf: (agentId: string) => Agent): void {
  const chats = new Map<string, string>();
  socket.on('message', (data) => {
    const frame = JSON.parse(data.toString()) as Frame;
    const { agent_id: agentId } = frame;
    let chatId = chats.get(agentId);
    let method = 'chat.message';
    let field = 'message';
    if (chatId === undefined) {
      // A counter: even the fastest random id costs more.
      chatId = `c${++ids}`;
      chats.set(agentId, chatId);
      method = 'chat.start';
      field = 'initialMessage';
    }
    // Only the message needs to be written as JSON; the rest is known to need no escapes.
    const params = `{"chatId":"${chatId}","${field}":${JSON.stringify(frame.message)}${frame.stream ? ',"stream":true' : ''}}`;
    const body = `{"arc":"1.0","id":"${++ids}","method":"${method}","requestAgent":"floor","targetAgent":"${agentId}","traceId":"${frame.trace_id}","params":${params}}`;
    agentOf(agentId).ask(body, frame.stream ? new Stream(socket, request.socket, frame) : new Whole(socket));
  });
  socket.on('close', () => {
    for (const [agentId, chatId] of chats) {
      const body = `{"arc":"1.0","id":"${++ids}","method":"chat.end","requestAgent":"floor","targetAgent":"${agentId}","params":{"chatId":"${chatId}"}}`;
      agentOf(agentId).ask(body, new Nothing());
    }
  });
}

const HEADERS = ['content-type', 'application/arc+json', 'accept', 'application/arc+json, text/event-stream'];

/** Fewer than 16 connections, or pipelining, are slower; so are more than 64. */
const CONNECTIONS = 64;

/**
 * undici's `Client`s, of which the one that was used last is used next. `Pool` looks through all of them for one that is
 * free, and keeps all of them awake.
 */
class Agent {
  readonly #origin: string;
  readonly #path: string;
  readonly #free: Client[] = [];
  /** Those whose answer ended in this turn; before the next one undici would wait for it anyway. */
  readonly #resting: Client[] = [];
  readonly #waiting: { body: string; handler: Nothing }[] = [];
  #clients = 0;

  constructor(url: URL) {
    this.#origin = url.origin;
    this.#path = url.pathname;
  }

  ask(body: string, handler: Nothing): void {
    const client = this.#free.pop() ?? this.#open();
    if (client === undefined) this.#waiting.push({ body, handler });
    else this.#post(client, body, handler);
  }

  left(client: Client): void {
    if (this.#resting.push(client) === 1) setImmediate(this.#wake);
  }

  readonly #wake = (): void => {
    this.#free.push(...this.#resting);
    this.#resting.length = 0;
    for (const { body, handler } of this.#waiting.splice(0, this.#free.length)) {
      this.#post(this.#free.pop() as Client, body, handler);
    }
  };

  #post(client: Client, body: string, handler: Nothing): void {
    handler.agent = this;
    handler.client = client;
    client.dispatch({ path: this.#path, method: 'POST', headers: HEADERS, body }, handler);
  }

  #open(): Client | undefined {
    if (this.#clients === CONNECTIONS) return undefined;
    this.#clients += 1;
    return new Client(this.#origin, { headersTimeout: 0, bodyTimeout: 0 });
  }
}

/**
 * The names of undici 6: they reach its parser as they are, where those of undici 7 go through a wrapper that makes an
 * object of the headers.
 */
class Nothing implements Dispatcher.DispatchHandler {
  agent!: Agent;
  client!: Client;

  onConnect(): void {}
  onHeaders(): boolean {
    return true;
  }
  onData(_chunk: Buffer): boolean {
    return true;
  }
  onComplete(): void {
    this.agent.left(this.client);
  }
  onError(error: Error): void {
    this.agent.left(this.client);
    console.error('floor:', error);
  }
}

/** An answer that is one piece of JSON: its bytes are sent as they came, never a string. */
class Whole extends Nothing {
  readonly #socket: WebSocket;
  #first: Buffer | undefined;
  #rest: Buffer[] | undefined;

  constructor(socket: WebSocket) {
    super();
    this.#socket = socket;
  }

  override onData(chunk: Buffer): boolean {
    if (this.#first === undefined) this.#first = chunk;
    else if (this.#rest === undefined) this.#rest = [this.#first, chunk];
    else this.#rest.push(chunk);
    return true;
  }

  override onComplete(): void {
    super.onComplete();
    const body = this.#rest === undefined ? (this.#first as Buffer) : Buffer.concat(this.#rest);
    this.#socket.send(body, { binary: false });
  }
}

/** A streamed answer: what stands between `data: ` and a blank line is spliced into a frame. */
class Stream extends Nothing {
  readonly #socket: WebSocket;
  readonly #connection: Duplex;
  readonly #content: string;
  readonly #done: string;
  #rest = '';

  constructor(socket: WebSocket, connection: Duplex, { id, agent_id }: Frame) {
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

function uncork(connection: Duplex): void {
  connection.uncork();
}
