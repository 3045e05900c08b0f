import type { ArcEnvelope, ArcMethod } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import type { ChatCookies } from './cookies.js';
import type { StreamEvent } from './event.js';
import type { TokenSource } from './token.js';

/**
 * Receives the answer of a call, which ends with exactly one of: a response, an event named `done` or `error`, a failure.
 * Other events may precede `done`, `error` and a failure. No method is called before the caller has the call. A listener
 * that throws ends its own call with an `InternalError`.
 */
export interface CallListener {
  /** The whole answer: the agent's own text, and the envelope with a result that it was parsed to. */
  onResponse(text: Bytes, envelope: ArcEnvelope): void;
  onEvent(event: StreamEvent): void;
  /** An ARC error in an envelope, or whatever kept the answer from coming. */
  onError(error: unknown): void;
}

/** Time-outs in milliseconds; 0: none. */
export interface CallTimeouts {
  /** To the first byte of a stream, or to the end of any other answer. */
  readonly timeout?: number | undefined;
  /** Between two chunks of a stream. */
  readonly streamIdleTimeout?: number | undefined;
  /** From a stream's first byte to its last event. */
  readonly streamTimeout?: number | undefined;
}

/** A request to an agent. */
export interface CallRequest extends CallTimeouts {
  readonly method: ArcMethod;
  readonly targetAgent: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly traceId?: string | undefined;
  /** How often a request is sent again that did not reach the agent. */
  readonly retries?: number | undefined;
  /** The chat that the request belongs to: its cookies are kept here. */
  readonly chat?: CookieChat | undefined;
}

/** Where the cookies of a chat are kept. The client writes to it. */
interface CookieChat {
  cookies?: ChatCookies | undefined;
  /** What the tracing channel `arc.send` publishes about the send that makes the call. */
  readonly trace?: object | undefined;
}

/**
 * On whose behalf calls are made: one object for each session. The pool and the breaker tell sessions apart by its
 * identity. Calls without an owner are the application's own.
 */
export interface CallOwner {
  /** Tokens of this owner, in place of the client's. */
  readonly tokens?: TokenSource | undefined;
  /** Handed to the client's `headers` function. */
  readonly session?: unknown;
  /** Asked right before a message is written. If it is false, the message waits as if the connection had failed. */
  readonly observer?: { mayWrite?(): boolean } | undefined;
}
