import { createServer, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { type WebSocket, WebSocketServer } from 'ws';
import { listen } from './listen.js';
import { type Endpoints, endpointOf } from './options.js';

/**
 * A relay written by hand, with no correctness at all: nothing is checked, nothing times out, no error is answered. Do not
 * use it for anything else than to hold others against it.
 */

export interface Frame {
  id: number;
  agent_id: string;
  trace_id: string;
  message: unknown;
  stream?: true;
}

/** Where an answer goes. */
export interface Client {
  socket: WebSocket;
  /** The connection under it. */
  connection: Duplex;
}

/** How requests are sent. */
export interface Agent {
  ask(body: string, handler: Dispatcher.DispatchHandler): void;
}

/** What one may write in one way or another. */
export interface Ways {
  agent(url: URL): Agent;
  /** Hears an answer that is one piece of JSON, and sends it on. */
  whole(client: Client): Dispatcher.DispatchHandler;
  /** Hears a stream, and sends its events on. */
  stream(client: Client, frame: Frame): Dispatcher.DispatchHandler;
  nothing(): Dispatcher.DispatchHandler;
}

export const HEADERS = ['content-type', 'application/arc+json', 'accept', 'application/arc+json, text/event-stream'];

export function serveByHand(endpoints: Endpoints, ways: Ways): Promise<number> {
  const agents = endpoints.map((endpoint) => ways.agent(new URL(endpoint)));
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
  sockets.on('connection', (socket, request) => serveConnection(socket, request, agentOf, ways));
  return listen(server);
}

let ids = 100_000_000_000;

function serveConnection(
  socket: WebSocket,
  request: IncomingMessage,
  agentOf: (agentId: string) => Agent,
  ways: Ways,
): void {
  const chats = new Map<string, string>();
  const client = { socket, connection: request.socket };
  socket.on('message', (data) => {
    const frame = JSON.parse(data.toString()) as Frame;
    const { agent_id: agentId } = frame;
    let chatId = chats.get(agentId);
    let method = 'chat.message';
    let field = 'message';
    if (chatId === undefined) {
      // A counter: even the fastest random id costs more. As long as a UUID, because agents repeat it in each event: with
      // shorter ones there would be fewer bytes to pass on than the relay has.
      chatId = `00000000-0000-4000-8000-${++ids}`;
      chats.set(agentId, chatId);
      method = 'chat.start';
      field = 'initialMessage';
    }
    // Only the message needs to be written as JSON; the rest is known to need no escapes.
    const params = `{"chatId":"${chatId}","${field}":${JSON.stringify(frame.message)}${frame.stream ? ',"stream":true' : ''}}`;
    const body = `{"arc":"1.0","id":"${++ids}","method":"${method}","requestAgent":"floor","targetAgent":"${agentId}","traceId":"${frame.trace_id}","params":${params}}`;
    agentOf(agentId).ask(body, frame.stream ? ways.stream(client, frame) : ways.whole(client));
  });
  socket.on('close', () => {
    for (const [agentId, chatId] of chats) {
      const body = `{"arc":"1.0","id":"${++ids}","method":"chat.end","requestAgent":"floor","targetAgent":"${agentId}","params":{"chatId":"${chatId}"}}`;
      agentOf(agentId).ask(body, ways.nothing());
    }
  });
}

/**
 * The names of undici 6: they reach its parser as they are, where those of undici 7 go through a wrapper that makes an
 * object of the headers.
 */
export class Nothing implements Dispatcher.DispatchHandler {
  onConnect(): void {}
  onHeaders(): boolean {
    return true;
  }
  onData(_chunk: Buffer): boolean {
    return true;
  }
  onComplete(): void {}
  onError(error: Error): void {
    console.error('by hand:', error);
  }
}

/** The bytes of an answer, which mostly come in one piece. */
export class Pieces {
  #first: Buffer | undefined;
  #rest: Buffer[] | undefined;

  add(chunk: Buffer): void {
    if (this.#first === undefined) this.#first = chunk;
    else if (this.#rest === undefined) this.#rest = [this.#first, chunk];
    else this.#rest.push(chunk);
  }

  all(): Buffer {
    return this.#rest === undefined ? (this.#first as Buffer) : Buffer.concat(this.#rest);
  }
}

export function uncork(connection: Duplex): void {
  connection.uncork();
}
