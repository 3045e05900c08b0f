import type { ClientOptions } from 'ws';
import { Client } from './client.js';
import { type Frame, isLast, type Json } from './frames.js';
import { withDeadline } from './waits.js';

/** The frames that answer one send, end or ping. */
interface Answer {
  frames: Frame[];
  ended: boolean;
  end: () => void;
  last: Promise<void>;
}

/**
 * A client with many sends at once: it finds answers by their id, and records all frames. Its own class, since what it keeps of
 * every frame would be measured in tests of memory, and since most tests are about the order of frames, which it ignores.
 */
export class RecordingClient extends Client {
  /** All frames in the order of arrival. */
  readonly frames: Frame[] = [];
  /** Frames after the last one of their id, or without an id that was sent. */
  readonly unexpected: Frame[] = [];
  /** Called for every frame. */
  onFrame: (frame: Frame) => void = () => {};
  readonly #answers = new Map<string | number, Answer>();
  #lastId = 0;

  constructor(url: string, options: ClientOptions = { perMessageDeflate: false }) {
    super(url, options);
    this.socket.on('message', (data) => this.#receive(JSON.parse(data.toString()) as Frame));
  }

  override send(...frames: (Json | string)[]): void {
    for (const frame of frames) if (typeof frame === 'object' && hasId(frame)) this.#of(frame.id);
    super.send(...frames);
  }

  /** Sends a frame, which gets an id if it has none. Gives the frames that answer it, including the last. */
  override exchange(frame: Json, ms?: number): Promise<Frame[]> {
    this.#lastId += 1;
    const sent = hasId(frame) ? frame : { ...frame, id: `own-${this.#lastId}` };
    this.send(sent);
    return this.answerTo(sent.id, ms);
  }

  override async ask(frame: Json): Promise<Frame> {
    return (await this.exchange(frame)).at(-1) as Frame;
  }

  /** Resolves to the frames of an id when the last one has arrived. Rejects if the connection is closed before. */
  async answerTo(id: string | number, ms?: number): Promise<Frame[]> {
    const answer = this.#of(id);
    const closed = this.closed.then(({ code }) => {
      if (!answer.ended) throw new Error(`The connection was closed with ${code} before the last frame of ${id}`);
    });
    await withDeadline(
      Promise.race([answer.last, closed]),
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
  get unanswered(): (string | number)[] {
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
      this.unexpected.push(frame);
      return;
    }
    answer.frames.push(frame);
    if (!isLast(frame)) return;
    answer.ended = true;
    answer.end();
  }
}

function hasId(frame: Json): frame is Json & { id: string | number } {
  return typeof frame.id === 'string' || typeof frame.id === 'number';
}
