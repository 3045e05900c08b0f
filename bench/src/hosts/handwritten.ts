import { createServer, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { type WebSocket, WebSocketServer } from 'ws';
import { listen } from './listen.js';
import { type Endpoints, endpointOf } from './options.js';

/**
 * A handwritten relay without any correctness: nothing is validated, nothing times out, no error is answered. It is only a
 * baseline for the benchmark.
 */

export interface Frame {
  id: number;
  agent_id: string;
  trace_id: string;
  message: unknown;
  stream?: true;
}

/** The destination of an answer. */
export interface Client {
  socket: WebSocket;
  /** The TCP connection of the socket. */
  connection: Duplex;
}

/** Sends requests to one endpoint. */
export interface Agent {
  ask(body: string, handler: Dispatcher.DispatchHandler): void;
}

/** The parts in which the handwritten relays differ. */
export interface Handlers {
  agent(url: URL): Agent;
  /** Forwards an answer that is a single JSON document. */
  json(client: Client): Dispatcher.DispatchHandler;
  /** Forwards the events of a stream. */
  stream(client: Client, frame: Frame): Dispatcher.DispatchHandler;
  discard(): Dispatcher.DispatchHandler;
}

export const HEADERS = ['content-type', 'application/arc+json', 'accept', 'application/arc+json, text/event-stream'];

export function serveHandwritten(endpoints: Endpoints, handlers: Handlers): Promise<number> {
  const agents = endpoints.map((endpoint) => handlers.agent(new URL(endpoint)));
  const only = agents.length === 1 ? agents[0] : undefined;
  const byEndpoint = new Map(endpoints.map((endpoint, index) => [endpoint, agents[index]]));
  const agentOf = (agentId: string): Agent =>
    (only ?? byEndpoint.get(endpointOf(endpoints, agentId) as string)) as Agent;

  const server = createServer();
  const sockets = new WebSocketServer({
    server,
    perMessageDeflate: false,
    // ws would keep a Set of all sockets, which nothing here reads.
    clientTracking: false,
    // The baseline does not care about invalid UTF-8.
    skipUTF8Validation: true,
  });
  sockets.on('connection', (socket, request) => serveConnection(socket, request, agentOf, handlers));
  return listen(server);
}

let ids = 100_000_000_000;

function serveConnection(
  socket: WebSocket,
  request: IncomingMessage,
  agentOf: (agentId: string) => Agent,
  handlers: Handlers,
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
      // A counter, because even the fastest random id costs more. It is as long as a UUID, because agents repeat it in each
      // event: with a shorter id there would be fewer bytes to forward than the relay has.
      chatId = `00000000-0000-4000-8000-${++ids}`;
      chats.set(agentId, chatId);
      method = 'chat.start';
      field = 'initialMessage';
    }
    // Only the message is serialized; the other values need no escapes.
    const params = `{"chatId":"${chatId}","${field}":${JSON.stringify(frame.message)}${frame.stream ? ',"stream":true' : ''}}`;
    const body = `{"arc":"1.0","id":"${++ids}","method":"${method}","requestAgent":"floor","targetAgent":"${agentId}","traceId":"${frame.trace_id}","params":${params}}`;
    agentOf(agentId).ask(body, frame.stream ? handlers.stream(client, frame) : handlers.json(client));
  });
  socket.on('close', () => {
    for (const [agentId, chatId] of chats) {
      const body = `{"arc":"1.0","id":"${++ids}","method":"chat.end","requestAgent":"floor","targetAgent":"${agentId}","params":{"chatId":"${chatId}"}}`;
      agentOf(agentId).ask(body, handlers.discard());
    }
  });
}

/**
 * Ignores an answer. It uses the method names of undici 6, which the parser calls directly; those of undici 7 go through a
 * wrapper that converts the headers to an object.
 */
export class DiscardHandler implements Dispatcher.DispatchHandler {
  onConnect(): void {}
  onHeaders(): boolean {
    return true;
  }
  onData(_chunk: Buffer): boolean {
    return true;
  }
  onComplete(): void {}
  onError(error: Error): void {
    console.error('handwritten relay:', error);
  }
}

/** Collects the bytes of an answer, which usually arrive in one chunk. */
export class Chunks {
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
