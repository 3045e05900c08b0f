import { tracingChannel } from 'node:diagnostics_channel';
import type { ArcEnvelope } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import { sessionIdOf } from '../client/call-trace.js';
import type { StreamEvent } from '../client/event.js';
import { readAgentError } from '../protocol/errors.js';
import type { SendListener, SendRequest, TraceContext } from './send-request.js';
import { readTraceContext } from './trace-context.js';

/** What subscribers of the tracing channel `arc.send` get. One object for each send; fields appear as they become known. */
export interface SendContext {
  readonly agentId: string;
  readonly contextId: string | undefined;
  readonly traceId: string | undefined;
  /** The session of the relay, if the send belongs to one. */
  readonly sessionId: string | undefined;
  /** What the client's frame says of its trace, as far as it is valid. Undefined if the application itself sends. */
  readonly traceContext: TraceContext | undefined;
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
  /** When the first piece of a stream came, by `performance.now()`. */
  firstPieceAt?: number;
}

/**
 * `start` and `end` frame the call that begins a send; `asyncStart` and `asyncEnd` are published at its end, after `error`
 * if it failed. Nothing is built without subscribers.
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
  /** What is published. */
  readonly context: SendContext;
  #send: TracedSend | undefined;

  constructor(request: SendRequest, listener: SendListener, session: unknown) {
    const { agentId, contextId, traceId, stream = false } = request;
    const given = request.traceContext;
    const traceContext = given === undefined ? undefined : readTraceContext(given);
    this.#listener = listener;
    const sessionId = sessionIdOf(session);
    this.context = { agentId, contextId, traceId, sessionId, traceContext, stream, bytes: 0 };
    sendChannel.start.publish(this.context);
  }

  /** The send was made. */
  started(send: TracedSend): void {
    this.#send = send;
    sendChannel.end.publish(this.context);
  }

  onResponse(text: Bytes, envelope: ArcEnvelope): void {
    this.context.bytes = text.length;
    // First, because the listener may throw.
    this.#finish('response');
    this.#listener.onResponse(text, envelope);
  }

  onEvent(event: StreamEvent): void {
    // An error is no piece of an answer.
    if (event.event !== 'error') this.context.firstPieceAt ??= performance.now();
    this.context.bytes += event.bytes.length;
    if (event.event === 'done') this.#finish('done');
    else if (event.event === 'error') this.#finish('error', readAgentError(event.data, {}));
    this.#listener.onEvent(event);
  }

  onError(error: unknown): void {
    this.#finish('error', error);
    this.#listener.onError(error);
  }

  onCancelled(reason: unknown): void {
    this.#finish('cancelled');
    this.#listener.onCancelled(reason);
  }

  /** Ends the trace of a send that is moved: another manager sends it, and its listener is not called. */
  discarded(): void {
    this.#finish('cancelled');
  }

  #finish(state: SendContext['state'], error?: unknown): void {
    const { chatId, restarted } = this.#send ?? {};
    const context = Object.assign(this.context, { state, chatId, restarted: restarted === true });
    if (state === 'error') sendChannel.error.publish(Object.assign(context, { error }));
    sendChannel.asyncStart.publish(context);
    sendChannel.asyncEnd.publish(context);
  }
}
