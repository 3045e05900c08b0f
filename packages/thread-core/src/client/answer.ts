import { InternalError, readAgentError } from '../protocol/errors.js';
import type { ArcEnvelope, ArcPart, ChatResult } from '../protocol/types.js';
import type { CallListener } from './call.js';
import type { ArcEvent } from './event.js';
import { ArcStream } from './stream.js';

/** An answer: the agent's envelope. `restarted`, not enumerable, is true where a lost chat was started afresh for it. */
export type ArcResponse<Result = ChatResult> = ArcEnvelope<Result> & {
  readonly restarted: boolean;
  /** Where the agent streamed an answer that was not asked for as a stream: its events; not enumerable. */
  readonly events?: readonly ArcEvent[];
};

/** What is being answered: a call, or a send that may take several calls. */
export interface Answerable {
  readonly restarted?: boolean;
  readonly chatId?: string | undefined;
  cancel(): void;
  pause(): void;
  resume(): void;
}

/** Turns what a listener hears into a promise: of a response, or of a stream where one was asked for. */
export class Answer implements CallListener {
  readonly promise: Promise<unknown>;
  #resolve!: (value: unknown) => void;
  #reject!: (reason: unknown) => void;
  readonly #wantStream: boolean;
  readonly #signal: AbortSignal | undefined;
  #source: Answerable | undefined;
  #stream: ArcStream | undefined;
  #events: ArcEvent[] = [];

  constructor(wantStream: boolean, signal: AbortSignal | undefined) {
    this.#wantStream = wantStream;
    this.#signal = signal;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** @throws the signal's reason, where it is aborted already */
  from(source: () => Answerable): this {
    this.#signal?.throwIfAborted();
    this.#source = source();
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    return this;
  }

  readonly #onAbort = (): void => {
    this.onError(this.#signal?.reason);
    this.#source?.cancel();
  };

  #settled(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  onResponse(envelope: ArcEnvelope): void {
    this.#settled();
    const response = describe(envelope, this.#source?.restarted ?? false);
    if (!this.#wantStream) return this.#resolve(response);
    // The agent cannot stream: its whole answer is one piece.
    const stream = this.#openStream(response as ArcResponse);
    const { chat } = envelope.result as ChatResult;
    stream.push(madeUp('content', chat, chat?.chatId));
    stream.push(madeUp('done', { chatId: chat?.chatId, status: chat?.status, done: true }, chat?.chatId));
    stream.end();
  }

  onEvent(event: ArcEvent): void {
    const last = event.event === 'done' || event.event === 'error';
    if (last) this.#settled();
    if (this.#wantStream) {
      const stream = this.#stream ?? this.#openStream();
      stream.push(event);
      if (last) stream.end();
    } else if (event.event === 'error') {
      this.#reject(readAgentError(event.data, {}));
    } else {
      this.#events.push(event);
      if (last) this.#resolve(this.#collect());
    }
  }

  onError(error: unknown): void {
    this.#settled();
    if (this.#stream !== undefined) this.#stream.end(error ?? new InternalError('The stream failed'));
    else this.#reject(error);
  }

  onCancelled(reason: unknown): void {
    this.onError(reason);
  }

  #openStream(response?: ArcResponse): ArcStream {
    this.#stream = new ArcStream(this.#source as Answerable, response);
    this.#resolve(this.#stream);
    return this.#stream;
  }

  /** One envelope of a whole stream: the parts of all its messages, in order. */
  #collect(): unknown {
    const parts: ArcPart[] = [];
    let chat: Record<string, unknown> = {};
    for (const { event, data } of this.#events) {
      if (typeof data === 'string' && event === 'content') parts.push({ type: 'text', content: data });
      if (typeof data !== 'object' || data === null || (event !== 'content' && event !== 'done')) continue;
      const { message, done: _done, requestId: _id, ...rest } = ('chat' in data ? data.chat : data) as Record<string, unknown>;
      chat = { ...chat, ...rest };
      if (typeof message === 'object' && message !== null && 'parts' in message && Array.isArray(message.parts)) {
        parts.push(...message.parts);
      }
    }
    const result = { type: 'chat', chat: { ...chat, message: { role: 'agent', parts } } };
    return describe({ arc: '1.0', id: '', responseAgent: '', targetAgent: '', result, error: null }, this.#source?.restarted ?? false, this.#events);
  }
}

function describe(envelope: ArcEnvelope, restarted: boolean, events?: readonly ArcEvent[]): ArcEnvelope {
  Object.defineProperty(envelope, 'restarted', { value: restarted });
  if (events !== undefined) Object.defineProperty(envelope, 'events', { value: events });
  return envelope;
}

function madeUp(event: string, data: unknown, chatId: string | undefined): ArcEvent {
  return { event, data, json: JSON.stringify(data ?? null), chatId };
}
