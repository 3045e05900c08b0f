import type { ClosedError } from './errors.js';

/** What the client needs of a WebSocket. Those of browsers, Node 22 and the `ws` package fit. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  /** Drops the connection without a close frame. Only the `ws` package has it. */
  terminate?(): void;
}

/** A WebSocket class: the global one, or that of the `ws` package. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;

/** What the client needs of `sessionStorage`. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** How a connection ended. */
export interface CloseInfo {
  /** The WebSocket close code. 1006 if there was none: the connection was lost or refused. */
  code: number;
  /** What the server said. With 1006: what happened, such as the error that the function `url` threw. */
  reason: string;
}

/** Options of `createThreadClient`. */
export interface ThreadClientOptions {
  /**
   * The address of the relay: `wss://…`, `https://…`, or a path, which may be relative to the page's address. A function
   * is called on each attempt, for example to fetch a fresh ticket. If it throws, the attempt has failed, and another one
   * follows.
   */
  url: string | (() => string | Promise<string>);
  /** WebSocket subprotocols to offer. Default: none. */
  protocols?: string | string[] | undefined;
  /** Asks the relay to keep the session over a lost connection. Default true. */
  resume?: boolean | undefined;
  /**
   * Keeps the session over a reload of the page. Pass `sessionStorage`; several clients may share it. Default: not kept. If
   * `url` is a function, pages with different relays need storages of their own.
   */
  storage?: StorageLike | undefined;
  /**
   * The delay before an attempt, in milliseconds, is random, from 0 to a limit: `min`, doubled with each failure, at most
   * `max`. Default `{ min: 500, max: 30_000 }`.
   */
  backoff?: { min?: number | undefined; max?: number | undefined } | undefined;
  /** Decides whether to connect again. Default: the close code decides. */
  shouldRetry?: ((event: CloseInfo) => boolean | undefined) | undefined;
  /** The WebSocket class. Default: the global one. Node 20 has none: pass that of the `ws` package. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Closes the client when it is aborted. Default: none. */
  signal?: AbortSignal | undefined;
}

/** What `client.state` and the event `state` say. */
export type ClientState =
  /** There is no session yet. */
  | { readonly status: 'connecting' }
  /** A session exists, and is being continued on a new connection. */
  | { readonly status: 'resuming' }
  /** `resumable`: this relay keeps sessions. `resumed`: this connection continued one. */
  | { readonly status: 'open'; readonly resumable: boolean; readonly resumed: boolean }
  /** The connection is lost. `retryAt`: when the next attempt starts (`Date.now()`); undefined: with the next send. */
  | ({ readonly status: 'waiting'; readonly retryAt: number | undefined } & Readonly<CloseInfo>)
  /** No further attempt is made. After a refusal by the relay, `wake()` tries again. */
  | { readonly status: 'closed'; readonly error: ClosedError };

/** W3C Trace Context and W3C Baggage. */
export interface TraceContext {
  traceparent?: string | undefined;
  tracestate?: string | undefined;
  baggage?: string | undefined;
}

/** Options of `client.send`. */
export interface SendOptions {
  /** Asks for the answer piece by piece. Default: the relay decides. */
  stream?: boolean | undefined;
  /** Passed to the agent as ARC's `traceId`. 1 to 256 characters. */
  traceId?: string | undefined;
  /** Separates several threads with the same agent. 1 to 256 characters. */
  contextId?: string | undefined;
  /** Passed to the agent with the first message of the thread. */
  metadata?: Record<string, unknown> | undefined;
  /** The span that the message belongs to: W3C Trace Context and Baggage, as `propagation.inject` of OpenTelemetry writes them. */
  traceContext?: TraceContext | undefined;
  /** Cancels the turn when it is aborted. */
  signal?: AbortSignal | undefined;
}

/** Options of `client.end`. */
export interface EndOptions {
  /** Which of several threads with the agent. Default: the one without a context. */
  contextId?: string | undefined;
  /** Passed to the agent. */
  reason?: string | undefined;
}

/** A conversation that this client has open. */
export interface ThreadInfo {
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
}
