import { once } from 'node:events';
import { type ClientOptions, WebSocket } from 'ws';
import { type Frame, isLast, type Json, textOf, to } from './frames.js';
import { withDeadline } from './waits.js';

/** How a connection was closed. */
export interface Closing {
  code: number;
  reason: string;
}

/** A WebSocket client of a relay, which keeps its frames until a test takes them. */
export class Client {
  readonly socket: WebSocket;
  readonly opened: Promise<unknown>;
  readonly closed: Promise<Closing>;
  /** The frames that the test has not taken yet, as text, in order of arrival. */
  readonly texts: string[] = [];
  #notify: (() => void) | undefined;
  #pings = 0;

  constructor(url: string, options: ClientOptions = {}) {
    this.socket = new WebSocket(url, options);
    this.socket.on('error', () => {});
    this.opened = once(this.socket, 'open');
    this.opened.catch(() => {});
    this.socket.on('message', (data) => {
      this.texts.push(data.toString());
      this.#notify?.();
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        this.#notify?.();
      });
    });
  }

  /** A client whose connection is open. */
  static async open<C extends Client>(
    this: new (
      url: string,
      options?: ClientOptions,
    ) => C,
    url: string,
    options?: ClientOptions,
  ): Promise<C> {
    const client = new this(url, options);
    await withDeadline(client.opened, 'a client to be accepted');
    return client;
  }

  /** Sends frames; a string is sent as it is. */
  send(...frames: (Json | string)[]): void {
    for (const frame of frames) this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The next frame, as text. */
  async text(): Promise<string> {
    for (;;) {
      const text = this.texts.shift();
      if (text !== undefined) return text;
      if (this.socket.readyState === this.socket.CLOSED) throw new Error('The connection was closed');
      const notified = new Promise<void>((resolve) => {
        this.#notify = resolve;
      });
      await withDeadline(notified, 'a frame');
    }
  }

  /** The next frame. */
  async next(): Promise<Frame> {
    return JSON.parse(await this.text()) as Frame;
  }

  /** The next `count` frames. */
  async all(count: number): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count) frames.push(await this.next());
    return frames;
  }

  /** The frames up to the first that ends an answer, and that one. */
  async answer(): Promise<Frame[]> {
    const frames = [await this.next()];
    while (!isLast(frames.at(-1))) frames.push(await this.next());
    return frames;
  }

  /** Sends a frame. Gives all frames of the answer. */
  async exchange(frame: Json | string): Promise<Frame[]> {
    this.send(frame);
    return this.answer();
  }

  /** Sends a frame. Gives the last frame of the answer. */
  async ask(frame: Json | string): Promise<Frame> {
    return (await this.exchange(frame)).at(-1) as Frame;
  }

  /** Sends a text. Gives the text of the whole answer. */
  async say(agentId: string, text?: string, more?: Json): Promise<string> {
    return textOf(await this.ask(to(agentId, text, more)));
  }

  /** All frames that the relay has sent so far: those before the answer to a ping. */
  async rest(): Promise<Frame[]> {
    this.#pings += 1;
    const id = `rest-${this.#pings}`;
    this.send({ type: 'ping', id });
    const frames: Frame[] = [];
    for (;;) {
      const frame = await this.next();
      if (frame.type === 'pong' && frame.id === id) return frames;
      frames.push(frame);
    }
  }
}
