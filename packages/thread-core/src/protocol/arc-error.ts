import type { ArcErrorObject } from '@arc/thread-protocol';

/** What is known about a failed call besides its code and message. */
export interface ArcErrorOptions {
  /** The agent's own details of the error (`error.details`, or `error.data` from older servers). */
  details?: unknown;
  /** The HTTP status of the answer; absent if there was none. */
  status?: number | undefined;
  /** The agent that was called. */
  agentId?: string | undefined;
  /** The ARC method that was called, for example `chat.start`. */
  method?: string | undefined;
  /** ARC's `traceId` of the request. */
  traceId?: string | undefined;
  /** The error behind this one, as in `Error`. */
  cause?: unknown;
  /** True if the agent answered with this error, false if it was found on this side. */
  fromAgent?: boolean;
  /** The agent's address (origin and path, never credentials) that a transport error is about. */
  address?: string | undefined;
}

/**
 * A failed ARC call. Each code of ARC has a subclass (`instanceof ChatNotFoundError`); an error with any other code is a
 * plain `ArcError`.
 */
export class ArcError extends Error {
  /** The ARC error code, for example -43001. */
  readonly code: number;
  /** The agent's own details; null if it gave none. */
  readonly details: unknown;
  /** The HTTP status of the answer. Undefined if there was none. */
  readonly status: number | undefined;
  readonly agentId: string | undefined;
  /** The ARC method that failed, for example `chat.start`. */
  readonly method: string | undefined;
  readonly traceId: string | undefined;
  /** True if the agent answered with this error, false if it was found on this side. */
  readonly fromAgent: boolean;
  /** The agent's address (origin and path, never credentials) that a transport error is about. */
  readonly address: string | undefined;
  /** What happened, without the address: may be shown to an end user. */
  readonly reason: string;

  constructor(code: number, reason: string, options: ArcErrorOptions = {}) {
    super(
      // An agent's own message stays as it is.
      options.address === undefined || options.fromAgent ? reason : `${reason} (${options.address})`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? null;
    this.status = options.status;
    this.agentId = options.agentId;
    this.method = options.method;
    this.traceId = options.traceId;
    this.fromAgent = options.fromAgent ?? false;
    this.address = options.address;
    this.reason = reason;
  }

  /** The error as it is written in an envelope or an error frame: without the address. */
  toJSON(): ArcErrorObject {
    const { code, reason: message, details } = this;
    return details === null ? { code, message } : { code, message, details };
  }
}

/** An error whose class determines its code. */
export abstract class CodedError extends ArcError {
  /** The code that every error of this class has. */
  static readonly code: number = 0;
  constructor(reason: string, options?: ArcErrorOptions) {
    super(new.target.code, reason, options);
  }
}

/** No complete answer came from the agent. The message says which address, and what happened. */
export abstract class TransportError extends CodedError {}
