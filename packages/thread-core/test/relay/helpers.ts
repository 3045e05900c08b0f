import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Test } from 'tap';
import { Compile } from 'typebox/compile';
import { type ClientOptions, type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import {
  type AttachOptions,
  createRelay,
  type Logger,
  type Relay,
  type RelayOptions,
  type Session,
} from '../../src/index.js';
import { framesSchema } from '../../src/relay/frame-schema.js';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '../../src/testing/index.js';

export type Json = Record<string, unknown>;

/** A frame of the relay, as a test looks at it. */
export interface Frame extends Json {
  type: string;
  data?: unknown;
}

const relayFrame = Compile(framesSchema.$defs.RelayFrame as never);

/** A message's `message`. */
export function say(text: string): { role: string; parts: Json[] } {
  return { role: 'user', parts: [{ type: 'text', content: text }] };
}

/** A message frame. */
export function to(agentId: string, text = 'hello', more: Json = {}): Json {
  return { agent_id: agentId, message: say(text), ...more };
}

/** The text of a response frame. */
export function textOf(frame: Json): string {
  const { response } = frame as { response?: { result?: { chat?: { message?: { parts?: { content: string }[] } } } } };
  return (response?.result?.chat?.message?.parts ?? []).map(({ content }) => content).join('');
}

/** The text of the content frames among these. */
export function streamedText(frames: Frame[]): string {
  type Content = { message: { parts: { content: string }[] } };
  const contents = frames.filter(({ type }) => type === 'content').map(({ data }) => data as Content);
  return contents.flatMap(({ message }) => message.parts.map(({ content }) => content)).join('');
}

/** A promise with its handles. */
export function deferred<T = void>(): { promise: Promise<T>; resolve(value: T): void; reject(reason: unknown): void } {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** A promise that fails with that message after five seconds, so that a test says what it waited for. */
export async function soon<T>(promise: Promise<T>, what: string | (() => string)): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited in vain for ${typeof what === 'string' ? what : what()}`)), 5000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A WebSocket client that keeps what it gets. */
export class Client {
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  /** The frames that were not asked for yet, as they came. */
  readonly texts: string[] = [];
  #heard: (() => void) | undefined;
  #pings = 0;

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, options);
    this.socket.on('message', (data) => {
      this.texts.push(data.toString());
      this.#heard?.();
    });
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.#heard?.();
      });
    });
  }

  /** Sends a frame; a string goes as it is. */
  send(...frames: (Json | string)[]): void {
    for (const frame of frames) this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The next frame as it came. */
  async text(): Promise<string> {
    for (;;) {
      const text = this.texts.shift();
      if (text !== undefined) return text;
      if (this.socket.readyState === this.socket.CLOSED) throw new Error('The connection was closed');
      await soon(
        new Promise<void>((resolve) => {
          this.#heard = resolve;
        }),
        'a frame',
      );
    }
  }

  /** The next frame, which has to be one by the published schema. */
  async next(): Promise<Frame> {
    const text = await this.text();
    const frame = JSON.parse(text) as Frame;
    if (!relayFrame.Check(frame)) throw new Error(`Not a frame of the relay: ${text.slice(0, 500)}`);
    return frame;
  }

  async all(count: number): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count) frames.push(await this.next());
    return frames;
  }

  /** The frames up to the first that ends a send, and that one. */
  async answer(): Promise<Frame[]> {
    const frames = [await this.next()];
    while (!['response', 'done', 'error', 'cancelled', 'ended'].includes(frames.at(-1)?.type ?? '')) {
      frames.push(await this.next());
    }
    return frames;
  }

  /** Everything that the relay has to say by now: what comes before the answer to a ping. */
  async rest(): Promise<Frame[]> {
    const id = `rest-${++this.#pings}`;
    this.send({ type: 'ping', id });
    const frames: Frame[] = [];
    for (;;) {
      const frame = await this.next();
      if (frame.type === 'pong' && frame.id === id) return frames;
      frames.push(frame);
    }
  }

  /** Sends and waits for the answer's last frame. */
  async ask(frame: Json | string): Promise<Frame> {
    this.send(frame);
    return (await this.answer()).at(-1) as Frame;
  }
}

export interface Line {
  level: string;
  about: Json;
  message: string;
}

/** Keeps what is logged. */
export class Log implements Logger {
  readonly lines: Line[] = [];
  readonly #waiters = new Set<() => void>();
  readonly debug = this.#writer('debug');
  readonly info = this.#writer('info');
  readonly warn = this.#writer('warn');
  readonly error = this.#writer('error');

  #writer(level: string): (about: object, message: string) => void {
    return (about, message) => {
      this.lines.push({ level, about: about as Json, message });
      for (const waiter of this.#waiters) waiter();
    };
  }

  /** The lines of a level. */
  at(...levels: string[]): Line[] {
    return this.lines.filter(({ level }) => levels.includes(level));
  }

  /** The first line whose message has that in it, now or later. */
  line(part: string): Promise<Line> {
    const found = new Promise<Line>((resolve) => {
      const look = (): void => {
        const line = this.lines.find(({ message }) => message.includes(part));
        if (line !== undefined) resolve(line);
      };
      this.#waiters.add(look);
      look();
    });
    return soon(found, `the line "${part}"`);
  }
}

export interface WorldOptions extends RelayOptions {
  agent?: TestAgentOptions;
  /** Options of the WebSocket server, in place of the relay's. */
  server?: ServerOptions;
  /** What `attach` is given. Default: an identity, so that nothing is asked. */
  attach?: AttachOptions | ((request: IncomingMessage) => AttachOptions);
  /** Chats may be left open at the end. */
  leaks?: boolean;
}

/** An agent, a relay, and a WebSocket server on 127.0.0.1. */
export class World {
  readonly agent: TestAgent;
  readonly relay: Relay;
  readonly server: WebSocketServer;
  readonly log: Log;
  readonly clients: Client[] = [];
  /** The server's ends of the connections, in the order in which they were opened. */
  readonly sessions: Session[] = [];
  readonly sockets: WebSocket[] = [];
  #received = 0;
  readonly #waiters = new Set<() => void>();

  constructor(agent: TestAgent, relay: Relay, server: WebSocketServer, log: Log, attach: WorldOptions['attach']) {
    this.agent = agent;
    this.relay = relay;
    this.server = server;
    this.log = log;
    server.on('connection', (socket, request) => {
      this.sockets.push(socket);
      this.sessions.push(relay.attach(socket, request, typeof attach === 'function' ? attach(request) : attach));
      // This listener comes after the relay's: what it counts has been taken.
      socket.on('message', () => {
        this.#received += 1;
        for (const waiter of this.#waiters) waiter();
      });
    });
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** The first session. */
  get session(): Session {
    return this.sessions[0] as Session;
  }

  /** The request of the first session. */
  get request(): IncomingMessage {
    const { request } = this.session;
    if (request === undefined) throw new Error('The first session has no connection');
    return request;
  }

  /** Resolves when the relay has taken so many frames, of all clients, since the start. */
  readonly received = (count: number): Promise<void> => {
    const all = new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#received >= count) resolve();
      };
      this.#waiters.add(look);
      look();
    });
    return soon(all, () => `${count} frames; ${this.#received} came`);
  };

  readonly connect = async (options?: ClientOptions): Promise<Client> => {
    const client = new Client(this.url, options);
    this.clients.push(client);
    await once(client.socket, 'open');
    return client;
  };

  /** An upgraded connection, to this server or to another port, that leaves everything else to the test. */
  readonly connectRaw = async (port = (this.server.address() as AddressInfo).port): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1');
    const key = Buffer.from('the sample nonce').toString('base64');
    const headers = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Key: ${key}`];
    socket.write(['GET / HTTP/1.1', 'Host: x', ...headers, 'Sec-WebSocket-Version: 13', '', ''].join('\r\n'));
    socket.on('error', () => {});
    await once(socket, 'data');
    return socket;
  };

  async close(): Promise<void> {
    for (const client of this.clients) client.socket.terminate();
    await this.relay.close({ timeout: 0 });
    for (const socket of this.server.clients) socket.terminate();
    await new Promise((resolve) => this.server.close(resolve));
    await this.agent.close();
  }
}

/** Starts all of it; it ends with the test, which fails if a chat is left open at the agent. */
export async function world(t: Test, options: WorldOptions = {}): Promise<World> {
  const { agent: agentOptions, server: serverOptions, leaks, attach = { identity: 'me' }, ...relayOptions } = options;
  const agent = await startTestAgent(agentOptions);
  const log = new Log();
  const target = relayOptions.client === undefined ? { endpoint: agent.endpoint } : { client: relayOptions.client };
  const relay = createRelay({ ...target, logger: log, ...relayOptions });
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...(serverOptions ?? relay.wsOptions) });
  await once(server, 'listening');
  const all = new World(agent, relay, server, log, attach);
  t.teardown(async () => {
    const { open } = agent.counters;
    const sessions = relay.sessions.size;
    await all.close();
    const left = agent.counters.open;
    if (left > 0 && leaks !== true) {
      throw new Error(`${left} chats are still open at the agent (${open} before ${sessions} sessions were closed)`);
    }
  });
  return all;
}

/** A masked text frame, as a client's bytes; payloads of less than 126 bytes. */
export function maskedText(text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

/** Resolves when the relay has looked after its sessions so many times since the start. */
export async function sweepsOf(all: World, count: number): Promise<void> {
  while (all.relay.sweeper.sweeps < count) await new Promise((resolve) => setTimeout(resolve, 5));
}
