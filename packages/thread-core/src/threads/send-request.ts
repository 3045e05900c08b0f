import type { ArcMessage } from '@arc/thread-protocol';
import type { CallListener, CallRequest } from '../client/call.js';

/** The trace that a send belongs to, as W3C Trace Context and W3C Baggage write it. */
export interface TraceContext {
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
  readonly baggage?: string | undefined;
}

/** A message for an agent. */
export interface SendRequest {
  agentId: string;
  message: ArcMessage;
  /** Names a conversation beside others with the same agent. */
  contextId?: string | undefined;
  traceId?: string | undefined;
  /** The trace of whoever sent the message, for subscribers of the tracing channel `arc.send`. Not sent to the agent. */
  readonly traceContext?: TraceContext | undefined;
  /** Whether the answer is to come piece by piece. Default false. */
  stream?: boolean | undefined;
  /** Sent as `metadata` of chat.start; later messages of the thread do not carry it. */
  metadata?: Record<string, unknown> | undefined;
  /** Milliseconds to the first byte of a stream, or the end of any other answer. Default: the client's `timeout`. */
  timeout?: number | undefined;
  /** Milliseconds between two chunks of a stream. Default: the client's `streamIdleTimeout`. */
  streamIdleTimeout?: number | undefined;
  /** Milliseconds for a whole stream. Default: the client's `streamTimeout`. */
  streamTimeout?: number | undefined;
}

/** Receives the answer of a send. Exactly one of response, `done`, `error`, a failure and a cancellation is its last. */
export interface SendListener extends CallListener {
  onCancelled(reason: unknown): void;
}

/** What sends a message: chat.message in a chat, or chat.start. `chat` keeps the cookies of the chat. */
export function callRequestOf(
  { agentId: targetAgent, message, metadata, traceId, stream, timeout, streamIdleTimeout, streamTimeout }: SendRequest,
  chatId: string,
  isMessaging: boolean,
  chat: CallRequest['chat'],
): CallRequest & { readonly params: Record<string, unknown> } {
  const method = isMessaging ? 'chat.message' : 'chat.start';
  const params: Record<string, unknown> = isMessaging
    ? { chatId, message, stream }
    : { initialMessage: message, chatId, metadata, stream };
  return { method, targetAgent, traceId, timeout, streamIdleTimeout, streamTimeout, params, chat };
}

/** Drops what is large from the parameters of a request that is written. */
export function dropContent(params: Record<string, unknown>): void {
  if (params.initialMessage === undefined) params.message = undefined;
  else params.initialMessage = params.metadata = undefined;
}
