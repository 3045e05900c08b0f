import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { Test } from 'tap';
import { ArcClient, type ArcClientOptions } from '../../src/client/arc-client.js';
import type { Call, CallOwner, CallRequest } from '../../src/client/call.js';
import type { ArcEvent } from '../../src/client/event.js';
import { ArcError } from '../../src/protocol/errors.js';

export type Json = Record<string, unknown>;

/** A request as it came over the wire. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
  readonly json: Json;
  /** Which TCP connection it came on, counted from 1. */
  readonly connection: number;
}

/** Bytes of an answer as they stand on the wire, or a function that writes them. */
export type Reply = string | Uint8Array | ((socket: net.Socket, request: Received) => unknown);

/** A TCP server that reads HTTP requests, and answers with the bytes that it is given. */
export class Peer {
  readonly requests: Received[] = [];
  readonly sockets: net.Socket[] = [];
  readonly server: net.Server;
  url = '';
  readonly #replies: Reply[];
  readonly #watchers = new Set<() => void>();

  constructor(replies: Reply[]) {
    this.#replies = replies;
    this.server = net.createServer((socket) => this.#accept(socket));
  }

  /** TCP connections so far. */
  get connections(): number {
    return this.sockets.length;
  }

  /** TCP connections that are open now. */
  get open(): number {
    return this.sockets.filter((socket) => !socket.destroyed).length;
  }

  /** Resolves when the condition holds; it is looked at whenever something happens on a socket. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    if (this.server.listening) await new Promise((resolve) => this.server.close(resolve));
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }

  #accept(socket: net.Socket): void {
    const connection = this.sockets.push(socket);
    let received = Buffer.alloc(0);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.#changed());
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk as Buffer]);
      for (let end = received.indexOf('\r\n\r\n'); end >= 0; end = received.indexOf('\r\n\r\n')) {
        const request = parse(received, end, connection);
        if (request === undefined) return;
        received = received.subarray(end + 4 + Buffer.byteLength(request.body));
        this.requests.push(request);
        const reply = this.#replies.length > 1 ? this.#replies.shift() : this.#replies[0];
        if (typeof reply === 'function') void reply(socket, request);
        else if (reply !== undefined) socket.write(reply);
        this.#changed();
      }
    });
    this.#changed();
  }
}

function parse(bytes: Buffer, end: number, connection: number): Received | undefined {
  const [line = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const headers: Record<string, string> = {};
  for (const each of lines) {
    const colon = each.indexOf(':');
    const name = each.slice(0, colon).toLowerCase();
    const value = each.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const length = Number(headers['content-length'] ?? 0);
  if (bytes.length < end + 4 + length) return undefined;
  const body = bytes.subarray(end + 4, end + 4 + length).toString();
  const [method = '', path = ''] = line.split(' ');
  return { method, path, headers, body, json: body === '' ? {} : JSON.parse(body), connection };
}

/** Starts a peer. It answers with the replies in turn, and repeats the last one. */
export async function serve(t: Test, ...replies: Reply[]): Promise<Peer> {
  const peer = new Peer(replies);
  peer.server.listen(0, '127.0.0.1');
  await once(peer.server, 'listening');
  peer.url = `http://127.0.0.1:${(peer.server.address() as net.AddressInfo).port}`;
  t.teardown(() => peer.close());
  return peer;
}

/** Nothing listens there, and no test gets it: the port of a server that was closed may be the next one of another process. */
export const DEAD_PORT = 1;

/** A port that is free for now. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A client of a peer, closed with the test. */
export function connect(t: Test, peer: { url: string }, options: Partial<ArcClientOptions> = {}): ArcClient {
  const client = new ArcClient({ endpoint: `${peer.url}/arc`, ...options });
  t.teardown(() => client.close());
  return client;
}

/** A peer with these replies, and a client of it. */
export async function pair(
  t: Test,
  replies: Reply | Reply[],
  options: Partial<ArcClientOptions> = {},
): Promise<{ peer: Peer; client: ArcClient }> {
  const peer = await serve(t, ...(Array.isArray(replies) ? replies : [replies]));
  return { peer, client: connect(t, peer, options) };
}

export const HELLO = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };
export const START = { targetAgent: 'support', initialMessage: HELLO };
export const STREAM = { ...START, stream: true } as const;

/** Writes the pieces one at a time, a turn of the event loop between them, so that they arrive one at a time. */
export async function writeApart(socket: net.Socket, pieces: Iterable<string | Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece);
    await turn();
  }
}

/** Cuts into pieces of these lengths, again and again. */
export function* cut(bytes: Uint8Array, ...lengths: number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = lengths[i % lengths.length] ?? 1;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

const REASONS: Record<number, string> = { 200: 'OK', 204: 'No Content', 307: 'Temporary Redirect', 500: 'Oops' };

/** An HTTP answer with a content length. */
export function http(status: number, body: string | Buffer = '', headers: Record<string, string> = {}): Buffer {
  const bytes = Buffer.from(body);
  const all = { ...(status === 204 ? {} : { 'content-length': String(bytes.length) }), ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([
    Buffer.from(`HTTP/1.1 ${status} ${REASONS[status] ?? 'Status'}\r\n${lines.join('')}\r\n`),
    bytes,
  ]);
}

const JSON_TYPE = { 'content-type': 'application/arc+json' };

export function envelope(fields: Json): Json {
  return { arc: '1.0', id: 'r1', responseAgent: 'support', targetAgent: 'arc-threads', ...fields };
}

export const RESULT = { type: 'chat', chat: { chatId: 'c1', status: 'ACTIVE', message: { role: 'agent', parts: [] } } };

/** An answer with a result. */
export function answer(result: unknown = RESULT, more: Json = {}): Buffer {
  return http(200, JSON.stringify(envelope({ result, error: null, ...more })), JSON_TYPE);
}

/** An answer with an error. */
export function refusal(error: unknown, status = 200, headers: Record<string, string> = JSON_TYPE): Buffer {
  return http(status, JSON.stringify(envelope({ result: null, error })), headers);
}

export const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n';
export const LAST_CHUNK = '0\r\n\r\n';

/** One chunk of a chunked body. */
export function chunk(body: string | Uint8Array): Buffer {
  const bytes = Buffer.from(body);
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
}

/** A whole answer that is a stream with this body. */
export function stream(body: string | Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(STREAM_HEAD), chunk(body), Buffer.from(LAST_CHUNK)]);
}

/** A stream with this body whose connection breaks before its HTTP body is complete. */
export function cutStream(body: string): Reply {
  return (socket) => socket.end(Buffer.concat([Buffer.from(STREAM_HEAD), chunk(body)]));
}

/** One event, as it stands in a stream. */
export function event(name: string | undefined, data: unknown): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${text}\n\n`;
}

export const piece = (content: string, chatId = 'c1'): Json => ({
  chatId,
  message: { role: 'agent', parts: [{ type: 'TextPart', content }] },
});
export const DONE = event('done', { chatId: 'c1', status: 'ACTIVE', done: true });

/** What a promise rejects with. */
export async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`It was fulfilled: ${JSON.stringify(value)}`);
    },
    (reason: unknown) => reason,
  );
}

/** The ArcError that a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<ArcError> {
  const reason = await reasonOf(promise);
  if (reason instanceof ArcError) return reason;
  throw new Error('It is no ArcError', { cause: reason });
}

/** All events of a stream, and what it failed with. */
export async function drain(stream: AsyncIterable<ArcEvent>): Promise<{ events: ArcEvent[]; error?: unknown }> {
  const events: ArcEvent[] = [];
  try {
    for await (const each of stream) events.push(each);
  } catch (error) {
    return { events, error };
  }
  return { events };
}

/** A call that is made by hand: the names of its events, and its end, which is the answer's text, `done` or an error. */
export interface Heard {
  readonly call: Call;
  readonly events: string[];
  readonly ended: Promise<unknown>;
}

/** A call that is made by hand, as the ThreadManager makes it, and what its listener hears. */
export function heard(client: ArcClient, request: Partial<CallRequest> = {}, owner?: CallOwner): Heard {
  const events: string[] = [];
  let settle = (_how: unknown): void => {};
  const ended = new Promise<unknown>((resolve) => (settle = resolve));
  const call = client.call(
    { method: 'chat.start', targetAgent: 'support', params: { stream: true }, ...request },
    {
      onResponse: (text) => settle(text),
      onError: settle,
      onEvent: ({ event }) => {
        events.push(event);
        if (event === 'done') settle('done');
      },
    },
    owner,
  );
  return { call, events, ended };
}
