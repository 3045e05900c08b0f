import type { ArcErrorObject, NotResumedReason } from '@arc/thread-protocol';

/** What every error of this package has in common. */
export abstract class ThreadClientError extends Error {
  /** What to decide by. The message is for people. */
  abstract readonly code: string | number;
}

/** The agent or the relay answered with an error. `code` is an ARC or JSON-RPC code, or one of the agent's own. */
export class AgentError extends ThreadClientError {
  override readonly name = 'AgentError';
  declare readonly code: number;
  declare readonly details: unknown;

  constructor(data: ArcErrorObject) {
    // As for every error without a code: an internal one. Whatever a relay sends must not throw.
    const { code = -32_603, message, details } = Object(data) as ArcErrorObject;
    super(message);
    Object.assign(this, { code, details });
  }
}

/** The turn was cancelled, by `turn.cancel()` or by its signal. */
export class CancelledError extends ThreadClientError {
  override readonly name = 'CancelledError';
  readonly code = 'CANCELLED';

  constructor(options?: ErrorOptions) {
    super('The turn was cancelled', options);
  }
}

/**
 * The relay gave the turn up: it shut down, it failed, or a newer turn replaced this one. The session continues. The
 * client never repeats the message by itself.
 */
export class InterruptedError extends ThreadClientError {
  override readonly name = 'InterruptedError';
  readonly code = 'INTERRUPTED';
  /** The agent may have received the message, and may have acted on it. */
  readonly mayHaveReached = true;

  constructor() {
    super('The turn was interrupted');
  }
}

/** The session is gone: it expired, or the relay does not resume sessions. All its threads are gone with it. */
export class SessionLostError extends ThreadClientError {
  override readonly name = 'SessionLostError';
  readonly code = 'SESSION_LOST';
  /** The agent may have received the message, and may have acted on it. */
  readonly mayHaveReached = true;
  /**
   * `expired`: the grace of the session is over, or a message was larger than the relay accepts. `unknown`: the relay was
   * restarted, or is another one. `unsupported`: it does not resume sessions. `forbidden`: the session is another user's. `gap`: the two sides
   * do not agree on what arrived. `duplicate`: it is the session of the tab that this one is a copy of.
   */
  declare readonly reason: NotResumedReason | 'unsupported' | 'duplicate';

  constructor(reason: SessionLostError['reason']) {
    super(`The session was lost: ${reason}`);
    this.reason = reason;
  }
}

/** The client is closed, by itself or by the relay. `code` is the WebSocket close code, such as 4401. */
export class ClosedError extends ThreadClientError {
  override readonly name = 'ClosedError';
  declare readonly code: number;
  declare readonly reason: string;
  /** The message was sent before the connection was closed: the agent may have received it. */
  declare readonly mayHaveReached: boolean;

  constructor(code: number, reason: string, mayHaveReached = false) {
    super(`Closed: ${code} ${reason}`);
    Object.assign(this, { code, reason, mayHaveReached });
  }
}

/**
 * A limit of the client was reached. `QUEUE_FULL`: more messages wait to be sent than it keeps. `UNREAD`: pieces of an
 * answer were not read and are no longer kept. `UNSENT`: ten connections were lost with this message, which never arrived,
 * for example because it is too large for a proxy.
 */
export class LimitError extends ThreadClientError {
  override readonly name = 'LimitError';
  declare readonly code: 'QUEUE_FULL' | 'UNREAD' | 'UNSENT';

  constructor(code: LimitError['code']) {
    super(`Limit reached: ${code}`);
    this.code = code;
  }
}
