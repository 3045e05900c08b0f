import { setMaxListeners } from 'node:events';
import { type ArcEnvelope, type ChatResult, chatIdOf } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import { InternalError, readAgentError } from '../protocol/errors.js';
import { isObject } from '../values.js';
import type { CallListener } from './call.js';
import { type ArcEvent, plain } from './event.js';
import type { Answerable, ArcResponse } from './response.js';
import { ArcStream } from './stream.js';

/** A listener that produces a promise: of a response, or of a stream if one was requested. */
export class Answer implements CallListener {
  readonly promise: Promise<unknown>;
  #resolve!: (value: unknown) => void;
  #reject!: (reason: unknown) => void;
  readonly #wantStream: boolean;
  readonly #signal: AbortSignal | undefined;
  #source: Answerable | undefined;
  #stream: ArcStream | undefined;
  readonly #events: ArcEvent[] = [];

  constructor(wantStream: boolean, signal: AbortSignal | undefined) {
    this.#wantStream = wantStream;
    this.#signal = signal;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** @throws the signal's reason, if it is aborted already */
  from(source: () => Answerable): this {
    this.#signal?.throwIfAborted();
    if (this.#signal !== undefined) {
      this.#signal.addEventListener('abort', this.#onAbort, { once: true });
      // Many calls of one signal are no leak: each takes its listener away.
      setMaxListeners(0, this.#signal);
    }
    this.#source = source();
    // A function of the application that was called meanwhile may have aborted it.
    if (this.#signal?.aborted) this.#onAbort();
    return this;
  }

  readonly #onAbort = (): void => {
    this.onError(this.#signal?.reason);
    this.#source?.cancel();
  };

  #settled(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  onResponse(_text: Bytes, envelope: ArcEnvelope): void {
    this.#settled();
    const response = describe(envelope, this.#source?.restarted ?? false);
    if (!this.#wantStream) return this.#resolve(response);
    // The agent cannot stream: its whole answer is one piece.
    const stream = this.#openStream(response as ArcResponse);
    const { chat } = envelope.result as Partial<ChatResult>;
    const chatId = chatIdOf(envelope.result);
    stream.push(madeUp('content', chat ?? envelope.result, chatId));
    stream.push(madeUp('done', { chatId, status: chat?.status, done: true }, chatId));
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
      this.#reject(readAgentError(event.data, this.#source?.facts?.() ?? {}));
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
    this.#stream = new ArcStream(this.#source as Answerable, response, () => this.#settled());
    this.#resolve(this.#stream);
    return this.#stream;
  }

  /** One envelope of a whole stream: the parts of all its messages, in order. */
  #collect(): unknown {
    const parts: unknown[] = [];
    let chat: Record<string, unknown> = {};
    for (const { event, data } of this.#events) {
      if (event !== 'content' && event !== 'done') continue;
      const said = isObject(data) && isObject(data.chat) ? data.chat : data;
      if (isObject(said)) {
        const { message, done: _done, requestId: _id, ...rest } = said;
        chat = { ...chat, ...rest };
        if (isObject(message) && Array.isArray(message.parts)) for (const part of message.parts) parts.push(part);
      } else if (event === 'content' && data !== null) {
        // A bare piece of text. One such as `42` is JSON, too.
        parts.push({ type: 'text', content: typeof data === 'string' ? data : JSON.stringify(data) });
      }
    }
    const result = { type: 'chat', chat: { ...chat, message: { role: 'agent', parts } } };
    const envelope = { arc: '1.0', id: '', responseAgent: '', targetAgent: '', result, error: null };
    return describe(envelope, this.#source?.restarted ?? false, this.#events.map(plain));
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
