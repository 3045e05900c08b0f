import { once } from 'node:events';
import { WebSocket } from 'ws';
import { type Frame, isLast, type Json } from './frames.js';
import { withDeadline } from './waits.js';

/** The frames that answer one send, end or ping. */
interface Answer {
  frames: Frame[];
  ended: boolean;
  end: () => void;
  last: Promise<void>;
}

/** A WebSocket client with many sends at once: it records all frames, by the id that they answer. */
export class RecordingClient {
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  /** All frames in the order of arrival. */
  readonly frames: Frame[] = [];
  /** Unexpected frames: after the last one of their id, or without an id. */
  readonly strays: Frame[] = [];
  /** Called for every frame. */
  onFrame: (frame: Frame) => void = () => {};
  readonly #answers = new Map<string | number, Answer>();

  private constructor(url: string) {
    this.socket = new WebSocket(url, { perMessageDeflate: false });
    this.socket.on('message', (data) => this.#receive(JSON.parse(data.toString()) as Frame));
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', resolve));
  }

  static async connect(url: string): Promise<RecordingClient> {
    const client = new RecordingClient(url);
    await withDeadline(once(client.socket, 'open'), 'a connection to the relay');
    return client;
  }

  /** Sends a frame with an id, and resolves to the frames that answer it, including the last. */
  async ask(frame: Json, ms?: number): Promise<Frame[]> {
    this.send(frame);
    return this.answerTo(frame.id as string, ms);
  }

  send(frame: Json): void {
    if (typeof frame.id === 'string' || typeof frame.id === 'number') this.#of(frame.id);
    this.socket.send(JSON.stringify(frame));
  }

  /** Resolves to the frames of an id when the last one has arrived. */
  async answerTo(id: string | number, ms?: number): Promise<Frame[]> {
    const answer = this.#of(id);
    await withDeadline(
      answer.last,
      () => `the last frame of ${id}; so far: ${answer.frames.map(({ type }) => type)}`,
      ms,
    );
    return answer.frames;
  }

  /** The frames of an id so far. */
  soFar(id: string | number): Frame[] {
    return this.#of(id).frames;
  }

  /** The ids without a last frame. */
  get open(): (string | number)[] {
    return [...this.#answers].filter(([, { ended }]) => !ended).map(([id]) => id);
  }

  #of(id: string | number): Answer {
    let answer = this.#answers.get(id);
    if (answer === undefined) {
      let end!: () => void;
      const last = new Promise<void>((resolve) => (end = resolve));
      answer = { frames: [], ended: false, end, last };
      this.#answers.set(id, answer);
    }
    return answer;
  }

  #receive(frame: Frame): void {
    this.frames.push(frame);
    this.onFrame(frame);
    const answer = frame.id === undefined ? undefined : this.#answers.get(frame.id);
    if (answer === undefined || answer.ended) {
      this.strays.push(frame);
      return;
    }
    answer.frames.push(frame);
    if (!isLast(frame)) return;
    answer.ended = true;
    answer.end();
  }
}
