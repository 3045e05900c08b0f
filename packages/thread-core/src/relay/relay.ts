import type { IncomingMessage } from 'node:http';
import type { WebSocket } from 'ws';
import { within } from '../threads/ending.js';
import { type Admission, isOriginAllowed, refusal } from './doors.js';
import { LONGEST_TIME, type RelayConfig, type RelayOptions, readOptions } from './options.js';
import { type AttachOptions, Session, type SessionHost } from './session.js';

/** What closing the relay came to. */
export interface CloseSummary {
  /** Connections that were open. */
  sessions: number;
  /** Chats that were ended. */
  ended: number;
  /** Chats that could not be. */
  failed: number;
}

export interface RelayStats {
  sessions: number;
  threads: number;
  /** Sends that run or wait. */
  pending: number;
}

/** Sockets that do not answer the closing handshake are dropped after so many milliseconds. */
const CLOSE_GRACE = 500;

const NOT_AUTHENTICATED = 'Not authenticated';

function isErrorStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599;
}

/** Puts WebSocket connections in touch with agents. Make one for each server, or each endpoint. */
export function createRelay(options: RelayOptions): Relay {
  return new Relay(options);
}

export class Relay implements SessionHost {
  /** @internal */
  readonly config: RelayConfig;
  readonly #sessions = new Set<Session>();
  /** Whom `admit` let in, until their socket is attached. */
  readonly #admitted = new WeakMap<IncomingMessage, unknown>();
  #closing: Promise<CloseSummary> | undefined;
  /** Refuse those who are being asked about when the relay closes: the answer may never come. */
  readonly #asked = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  /** @internal */
  sweeps = 0;

  /** @throws TypeError that names the option that is wrong */
  constructor(options: RelayOptions) {
    this.config = readOptions(options);
  }

  /** The connections whose chats are not all ended yet. */
  get sessions(): ReadonlySet<Session> {
    return this.#sessions;
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Drives a `ws` socket from now on. Call it in the same turn in which the socket was opened. A request that `admit`
   * let in keeps its identity; where `identity` is given, even as undefined, that is it; else `admit` is asked first.
   */
  attach(socket: WebSocket, request: IncomingMessage, options: AttachOptions = {}): Session {
    const isFull = this.#sessions.size >= this.config.maxSessions;
    const isAdmitted = this.#admitted.has(request) && !('identity' in options);
    const known = isAdmitted ? { ...options, identity: this.#admitted.get(request) } : options;
    const session = new Session(this, socket, request, known);
    this.#sessions.add(session);
    this.#startSweeping();
    if (this.isClosing) {
      session.shutDown();
      setTimeout(() => session.terminate(), CLOSE_GRACE).unref();
    } else if (isFull) session.close(1013, 'Too many connections');
    else session.begin(known);
    return session;
  }

  /** The options that a `ws` server wants whose sockets are attached here. */
  get wsOptions(): { maxPayload: number; perMessageDeflate: false } {
    // Deflate takes some 200 KiB a connection, for frames that are mostly short.
    return { maxPayload: this.config.maxFrameBytes, perMessageDeflate: false };
  }

  /**
   * Whether a connection may be opened, and whose it is: what a host asks before it upgrades the request. `context` is
   * handed to `authenticate`: the framework's own idea of the request.
   */
  async admit(request: IncomingMessage, context?: unknown): Promise<Admission> {
    if (this.isClosing) return { refused: refusal(503, 'The server is shutting down') };
    if (this.#sessions.size >= this.config.maxSessions) return { refused: refusal(503, 'Too many connections') };
    const shuttingDown = { refused: refusal(503, 'The server is shutting down') };
    return new Promise((resolve) => {
      const refuse = () => resolve(shuttingDown);
      this.#asked.add(refuse);
      void this.judge(request, context).then((admission) => {
        this.#asked.delete(refuse);
        resolve(this.isClosing ? shuttingDown : admission);
      });
    });
  }

  /** As `admit`, of a connection that has its place already. @internal */
  async judge(request: IncomingMessage, context?: unknown): Promise<Admission> {
    const { allowedOrigins, authenticate, logger } = this.config;
    try {
      if (!isOriginAllowed(request, allowedOrigins)) return { refused: refusal(403, 'This origin is not allowed') };
      const identity = await authenticate?.(request, context);
      const isRefused = identity === null || identity === undefined || identity === false;
      if (authenticate !== undefined && isRefused) return { refused: refusal(401, NOT_AUTHENTICATED) };
      this.#admitted.set(request, identity);
      return { identity };
    } catch (err) {
      logger.warn({ err }, 'a connection was refused');
      const { statusCode, message } = Object(err) as { statusCode?: unknown; message?: unknown };
      if (!isErrorStatus(statusCode)) return { refused: refusal(401, NOT_AUTHENTICATED) };
      // What is said with a 4xx is for the client; what with a 5xx is not.
      const isTold = statusCode < 500 && typeof message === 'string' && message !== '';
      return { refused: refusal(statusCode, isTold ? message : NOT_AUTHENTICATED) };
    }
  }

  stats(): RelayStats {
    let threads = 0;
    let pending = 0;
    for (const session of this.#sessions) {
      threads += session.threads.threadCount;
      pending += session.pending;
    }
    return { sessions: this.#sessions.size, threads, pending };
  }

  /**
   * Lets pending sends finish for `drainTimeout` (or `timeout`) milliseconds, then closes all connections with 1001
   * and ends all chats, side by side, within `cleanupTimeout`. Calling it again gives the same promise.
   */
  close(options: { timeout?: number } = {}): Promise<CloseSummary> {
    this.#closing ??= this.#close(Math.min(options.timeout ?? this.config.drainTimeout, LONGEST_TIME));
    for (const refuse of this.#asked) refuse();
    return this.#closing;
  }

  async #close(drainTimeout: number): Promise<CloseSummary> {
    const sessions = [...this.#sessions];
    await within(Promise.all(sessions.map((session) => session.drain())), drainTimeout);
    for (const session of this.#sessions) session.shutDown();
    const all = new Set([...sessions, ...this.#sessions]);
    const grace = setTimeout(() => {
      for (const session of this.#sessions) session.terminate();
    }, CLOSE_GRACE);
    const outcomes = (await Promise.all([...all].map((session) => session.closed))).flat();
    clearTimeout(grace);
    clearInterval(this.#timer);
    if (this.config.ownsClient) await this.config.client.close();
    const ended = outcomes.filter(({ ok }) => ok).length;
    return { sessions: sessions.length, ended, failed: outcomes.length - ended };
  }

  /** @internal */
  ended(session: Session): void {
    this.#sessions.delete(session);
    if (this.#sessions.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** One timer looks after all sessions, as long as there are any. */
  #startSweeping(): void {
    const { heartbeat, idleTimeout } = this.config;
    if (this.#timer !== undefined || (heartbeat === 0 && idleTimeout === 0)) return;
    // A part of the heartbeat, so that pings come when they should, and short enough to see idleness in time.
    const parts = idleTimeout > 0 && heartbeat > 0 ? Math.ceil(heartbeat / (idleTimeout / 4)) : 1;
    const every = heartbeat > 0 ? heartbeat / parts : idleTimeout / 4;
    // One more than fits: the last activity was some time after a sweep.
    const idleSweeps = idleTimeout > 0 ? Math.ceil(idleTimeout / every) + 1 : 0;
    this.#timer = setInterval(() => {
      this.sweeps += 1;
      const pings = heartbeat > 0 && this.sweeps % parts === 0;
      for (const session of this.#sessions) session.sweep(pings, idleSweeps);
    }, every);
    this.#timer.unref();
  }
}
