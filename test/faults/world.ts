import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type AgentSource, createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import { WebSocket, WebSocketServer } from 'ws';

export type Json = Record<string, unknown>;

/** A frame of the relay. */
export interface Frame extends Json {
  type: string;
  id?: string | number;
  data?: unknown;
}

/** A message frame. */
export function to(agentId: string, id: string | number, more: Json = {}): Json {
  const message = { role: 'user', parts: [{ type: 'text', content: 'one two three four' }] };
  return { agent_id: agentId, id, message, ...more };
}

/** Waits for the promise, or rejects with what was waited for. */
export async function bounded<T>(promise: Promise<T>, what: string | (() => string), ms = 10_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new Error(`Waited ${ms} ms for ${typeof what === 'string' ? what : what()}`));
    timer = setTimeout(fail, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Polls a condition for which there is no event. */
export async function until(holds: () => boolean, what: string | (() => string), ms = 10_000): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const held = new Promise<void>((resolve) => {
    const look = (): void => {
      if (holds()) resolve();
      else timer = setTimeout(look, 5);
    };
    look();
  });
  try {
    await bounded(held, what, ms);
  } finally {
    clearTimeout(timer);
  }
}

const LAST: ReadonlySet<string> = new Set(['response', 'done', 'error', 'cancelled', 'ended', 'pong']);

/** Whether a frame is the last that answers its request. */
export function isLast({ type }: Frame): boolean {
  return LAST.has(type);
}

/** The frames that answer one send, end or ping. */
interface Told {
  frames: Frame[];
  ended: boolean;
  end: () => void;
  last: Promise<void>;
}

/** A WebSocket client of the relay that collects frames by id. */
export class Client {
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  /** All frames in the order of arrival. */
  readonly frames: Frame[] = [];
  /** Unexpected frames: after the last one of their id, or without an id. */
  readonly strays: Frame[] = [];
  /** Called for every frame. */
  onFrame: (frame: Frame) => void = () => {};
  readonly #told = new Map<string | number, Told>();

  private constructor(url: string) {
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('message', (data) => this.#heard(JSON.parse(data.toString()) as Frame));
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', resolve));
  }

  static async connect(url: string): Promise<Client> {
    const client = new Client(url);
    await bounded(once(client.socket, 'open'), 'a connection to the relay');
    return client;
  }

  /** Sends a frame with an id, and resolves to the frames that answer it, including the last. */
  async ask(frame: Json, ms?: number): Promise<Frame[]> {
    this.send(frame);
    return this.told(frame.id as string, ms);
  }

  send(frame: Json): void {
    if (typeof frame.id === 'string' || typeof frame.id === 'number') this.#of(frame.id);
    this.socket.send(JSON.stringify(frame));
  }

  /** Resolves to the frames of an id when the last one has arrived. */
  async told(id: string | number, ms?: number): Promise<Frame[]> {
    const told = this.#of(id);
    await bounded(told.last, () => `the last frame of ${id}; so far: ${told.frames.map(({ type }) => type)}`, ms);
    return told.frames;
  }

  /** The frames of an id so far. */
  soFar(id: string | number): Frame[] {
    return this.#of(id).frames;
  }

  /** The ids without a last frame. */
  get open(): (string | number)[] {
    return [...this.#told].filter(([, { ended }]) => !ended).map(([id]) => id);
  }

  #of(id: string | number): Told {
    let told = this.#told.get(id);
    if (told === undefined) {
      let end!: () => void;
      const last = new Promise<void>((resolve) => (end = resolve));
      told = { frames: [], ended: false, end, last };
      this.#told.set(id, told);
    }
    return told;
  }

  #heard(frame: Frame): void {
    this.frames.push(frame);
    this.onFrame(frame);
    const told = frame.id === undefined ? undefined : this.#told.get(frame.id);
    if (told === undefined || told.ended) {
      this.strays.push(frame);
      return;
    }
    told.frames.push(frame);
    if (!isLast(frame)) return;
    told.ended = true;
    told.end();
  }
}

/** A relay behind a plain `ws` server on 127.0.0.1. */
export class RelayServer {
  readonly relay: Relay;
  readonly server: WebSocketServer;
  readonly #clients: Client[] = [];

  private constructor(options: RelayOptions & AgentSource) {
    this.relay = createRelay(options);
    this.server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...this.relay.wsOptions });
    this.server.on('connection', (socket, request) => this.relay.attach(socket, request, { identity: 'tester' }));
  }

  static async start(options: RelayOptions & AgentSource): Promise<RelayServer> {
    const server = new RelayServer(options);
    await once(server.server, 'listening');
    return server;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async connect(): Promise<Client> {
    const client = await Client.connect(this.url);
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const { socket } of this.#clients) socket.terminate();
    await this.relay.close({ timeout: 0 });
    for (const socket of this.server.clients) socket.terminate();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
