import { type ArcEvent, plain } from './event.js';
import type { Answerable, ArcResponse } from './response.js';

/** Events that wait for their reader before the agent's answer is paused. */
const HIGH_WATER = 64;

/**
 * An agent's answer, piece by piece: `for await (const event of stream)`. The last event is `done` or `error`, and the
 * iteration ends with it. A transport failure is thrown, as `StreamInterruptedError` or another `ArcError`. Leaving
 * the loop early cancels the stream. It can be iterated once.
 */
export class ArcStream implements AsyncIterableIterator<ArcEvent, undefined> {
  /** The envelope, if the agent answered with one instead of a stream. */
  readonly response: ArcResponse | undefined;
  readonly #source: Answerable;
  readonly #onCancel: () => void;
  readonly #events: ArcEvent[] = [];
  #waiting:
    | { resolve: (result: IteratorResult<ArcEvent, undefined>) => void; reject: (error: unknown) => void }
    | undefined;
  #ended = false;
  #error: unknown;
  #chatId: string | undefined;

  /** @internal */
  constructor(source: Answerable, response: ArcResponse | undefined, onCancel: () => void) {
    this.#source = source;
    this.#onCancel = onCancel;
    this.response = response;
  }

  /** The chat that this is an answer in, as far as it is known. */
  get chatId(): string | undefined {
    return this.#source.chatId ?? this.#chatId;
  }

  /** True if the agent had lost the chat, so that this answer belongs to a new one. */
  get restarted(): boolean {
    return this.#source.restarted ?? false;
  }

  /** Stops the agent: its connection is closed at once. Events that were not read are dropped. */
  cancel(): void {
    this.#events.length = 0;
    if (this.#ended) return;
    this.end();
    this.#onCancel();
    this.#source.cancel();
  }

  /** @internal */
  push(pushed: ArcEvent): void {
    if (this.#ended) return;
    const event = plain(pushed);
    this.#chatId = event.chatId ?? this.#chatId;
    if (this.restarted) event.restarted = true;
    if (this.#waiting !== undefined) {
      this.#waiting.resolve({ value: event, done: false });
      this.#waiting = undefined;
    } else if (this.#events.push(event) === HIGH_WATER) {
      this.#source.pause();
    }
  }

  /** @internal */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#waiting === undefined) this.#error = error;
    else if (error === undefined) this.#waiting.resolve({ value: undefined, done: true });
    else this.#waiting.reject(error);
    this.#waiting = undefined;
  }

  /** The next event. Rejects with what ended the stream before its time, once. */
  next(): Promise<IteratorResult<ArcEvent, undefined>> {
    const event = this.#events.shift();
    if (event !== undefined) {
      if (this.#events.length === HIGH_WATER / 2) this.#source.resume();
      return Promise.resolve({ value: event, done: false });
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    if (this.#waiting !== undefined)
      return Promise.reject(new TypeError('next() was called before the last one was answered'));
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Cancels the stream: what `for await` calls when its loop is left early. */
  return(): Promise<IteratorResult<ArcEvent, undefined>> {
    this.cancel();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
