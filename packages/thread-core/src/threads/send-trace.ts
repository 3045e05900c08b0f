import { tracingChannel } from 'node:diagnostics_channel';
import type { ArcEnvelope } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import type { StreamEvent } from '../client/event.js';
import type { SendListener, SendRequest } from './send-request.js';

/** What subscribers of the tracing channel `arc.send` get. One object for each send; fields appear as they become known. */
export interface SendContext {
  readonly agentId: string;
  readonly contextId: string | undefined;
  readonly traceId: string | undefined;
  /** Whether a stream was asked for. */
  readonly stream: boolean;
  /** With the end: the chat, whether the agent had lost the one before, and how the send ended. */
  chatId?: string | undefined;
  restarted?: boolean;
  state?: 'response' | 'done' | 'error' | 'cancelled';
  /** With `state: 'error'`, and before it in the `error` event. */
  error?: unknown;
  /** Bytes of the answer, without framing. */
  bytes: number;
}

/**
 * `start` and `end` frame the call that begins a send; `asyncStart` and `asyncEnd` come with its end, after `error` where
 * it failed. Nothing is built where nobody subscribes.
 */
export const sendChannel = tracingChannel<SendContext, SendContext>('arc.send');

/** The end of a send, as its listener does not know it. */
interface TracedSend {
  readonly chatId: string | undefined;
  readonly restarted: boolean;
}

/** Publishes what becomes of a send, and passes it on to its listener. */
export class SendTrace implements SendListener {
  readonly #listener: SendListener;
  readonly #context: SendContext;
  #send: TracedSend | undefined;

  constructor({ agentId, contextId, traceId, stream = false }: SendRequest, listener: SendListener) {
    this.#listener = listener;
    this.#context = { agentId, contextId, traceId, stream, bytes: 0 };
    sendChannel.start.publish(this.#context);
  }

  /** The send was made. */
  started(send: TracedSend): void {
    this.#send = send;
    sendChannel.end.publish(this.#context);
  }

  onResponse(text: Bytes, envelope: ArcEnvelope): void {
    this.#context.bytes = text.length;
    this.#listener.onResponse(text, envelope);
    this.#finish('response');
  }

  onEvent(event: StreamEvent): void {
    this.#context.bytes += event.bytes.length;
    this.#listener.onEvent(event);
    if (event.event === 'done') this.#finish('done');
    else if (event.event === 'error') this.#finish('error', event.data);
  }

  onError(error: unknown): void {
    this.#listener.onError(error);
    this.#finish('error', error);
  }

  onCancelled(reason: unknown): void {
    this.#listener.onCancelled(reason);
    this.#finish('cancelled');
  }

  #finish(state: SendContext['state'], error?: unknown): void {
    const { chatId, restarted } = this.#send ?? {};
    const context = Object.assign(this.#context, { state, chatId, restarted: restarted === true });
    if (state === 'error') sendChannel.error.publish(Object.assign(context, { error }));
    sendChannel.asyncStart.publish(context);
    sendChannel.asyncEnd.publish(context);
  }
}
