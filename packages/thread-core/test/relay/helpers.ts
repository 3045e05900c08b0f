import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type Frame, type Json, Client as TestClient, withDeadline } from '@arc/test-client';
import type { Test } from 'tap';
import { Compile } from 'typebox/compile';
import { type ClientOptions, type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import {
  type AttachOptions,
  createRelay,
  type Logger,
  type Relay,
  type RelayOptions,
  type Session,
} from '../../src/index.js';
import { framesSchema } from '../../src/relay/frames/frame-schema.js';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '../../src/testing/index.js';

export { deferred, type Frame, type Json, say, streamedText, textOf, to, until, withDeadline } from '@arc/test-client';

const relayFrame = Compile(framesSchema.$defs.RelayFrame as never);

/** A client that takes nothing but frames by the published schema. */
export class Client extends TestClient {
  override async next(): Promise<Frame> {
    const frame = await super.next();
    if (!relayFrame.Check(frame)) throw new Error(`Not a frame of the relay: ${JSON.stringify(frame).slice(0, 500)}`);
    return frame;
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
    return withDeadline(found, `the line "${part}"`);
  }
}

export interface WorldOptions extends RelayOptions {
  agent?: TestAgentOptions;
  /** Options of the WebSocket server, in place of the relay's. */
  server?: ServerOptions;
  /** The options of `attach`. Default: an identity, so that nothing is checked. */
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
    return withDeadline(all, () => `${count} frames; ${this.#received} came`);
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
