import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { EndpointState } from '../client/breaker.js';
import { withTimeout } from '../timers.js';
import { LONGEST_TIME } from '../values.js';
import { AdmissionControl } from './admission.js';
import { answerOf, Handshake, NOT_AN_UPGRADE, type WsOptions } from './handshake.js';
import { shareHeaders } from './headers.js';
import { type RelayConfig, type RelayOptions, readOptions, type SendState } from './options.js';
import type { Admission, RefusalReason } from './refusal.js';
import { type AttachOptions, Session, type SessionHost } from './session.js';
import { guardUpgradeSocket, isUpgrade, removeUpgradeErrorHandler } from './upgrade-socket.js';

/** What closing the relay came to. */
export interface CloseSummary {
  /** Connections that were open. */
  sessions: number;
  /** Chats that were ended. */
  ended: number;
  /** Chats that could not be. */
  failed: number;
}

/** What is counted from the start on. */
export interface Counters {
  /** Sends that ended, by the frame that ended them. */
  sends: Record<SendState, number>;
  /** chat.start requests, and those of them that took the place of a lost chat. */
  started: number;
  restarted: number;
  /** Chats that were ended. */
  ended: number;
  /** Chats whose start was cut off, and which the agent did not have when they were to be ended. */
  unconfirmed: number;
  /** chat.end requests that failed, repeated ones included. */
  failedEnds: number;
  /** Chats that could not be ended; each is logged with its agent and chat id. */
  orphans: number;
}

export interface RelayStats extends Counters {
  /** Connections whose chats are not all ended yet. */
  sessions: number;
  threads: number;
  /** Sends that run or wait, and those of them that wait for their turn. */
  pending: number;
  waiting: number;
  /** Bytes from and to the connections, the framing included. */
  bytes: { received: number; sent: number };
  /** Connections that were refused, by the reason. */
  refused: Record<RefusalReason, number>;
  /** How the endpoints of the relay's client do: which of them fail, and are left in peace for a while. */
  breakers: EndpointState[];
}

/** Sockets that do not answer the closing handshake are dropped after so many milliseconds. */
const CLOSE_GRACE = 500;

/** Puts WebSocket connections in touch with agents. Make one for each server, or each endpoint. */
export function createRelay(options: RelayOptions): Relay {
  return new Relay(options);
}

export class Relay implements SessionHost {
  /** @internal */
  readonly config: RelayConfig;
  /** @internal */
  readonly counters: Counters = {
    sends: { response: 0, done: 0, error: 0, cancelled: 0 },
    started: 0,
    restarted: 0,
    ended: 0,
    unconfirmed: 0,
    failedEnds: 0,
    orphans: 0,
  };
  readonly #sessions = new Set<Session>();
  /** Bytes of connections that are gone. */
  readonly #bytes = { received: 0, sent: 0 };
  readonly #admission: AdmissionControl;
  readonly #handshake: Handshake;
  #closing: Promise<CloseSummary> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** @internal */
  sweeps = 0;

  /** @throws TypeError that names the option that is wrong */
  constructor(options: RelayOptions) {
    this.config = readOptions(options);
    this.#admission = new AdmissionControl(this.config);
    this.#handshake = new Handshake(this.config);
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
   * @throws TypeError where the socket is attached already, or `client` is no ArcClient
   */
  attach(socket: WebSocket, request: IncomingMessage, options: AttachOptions = {}): Session {
    const decision = 'identity' in options ? undefined : this.#admission.decisionOn(request);
    const isAdmitted = decision !== undefined && 'identity' in decision;
    const known = isAdmitted ? { ...options, identity: decision.identity } : options;
    shareHeaders(request);
    const session = new Session(this, socket, request, known);
    removeUpgradeErrorHandler(request.socket);
    const refused = this.#admission.takeSlot(request);
    this.#sessions.add(session);
    this.#startSweeping();
    if (this.isClosing) {
      session.shutDown();
      setTimeout(() => session.terminate(), CLOSE_GRACE).unref();
    } else if (refused !== undefined) {
      session.close(refused.closeCode, refused.message);
      setTimeout(() => session.terminate(), CLOSE_GRACE).unref();
    } else session.begin(known);
    return session;
  }

  /**
   * Takes an upgrade of any Node HTTP server, as its `upgrade` event gives it: answers it with an HTTP status where the
   * relay refuses it, else completes the handshake and attaches the socket. Never rejects. Gives the session, or
   * undefined where there is none. `context` is given to `authenticate`, `host` is as in `admit`.
   */
  async handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    { context = request, host }: { context?: unknown; host?: string | undefined } = {},
  ): Promise<Session | undefined> {
    guardUpgradeSocket(socket);
    try {
      const admission = isUpgrade(request) ? await this.admit(request, context, host) : undefined;
      const answer = admission === undefined ? NOT_AN_UPGRADE : answerOf(admission);
      const isRefused = admission === undefined || (answer !== undefined && this.config.refuseWith === 'status');
      if (!isRefused) return this.completeUpgrade(request, socket, head);
      this.#handshake.refuse(request, socket, answer ?? NOT_AN_UPGRADE);
    } catch (err) {
      this.config.logger.error({ err }, 'an upgrade failed');
      socket.destroy();
    }
    return undefined;
  }

  /** Completes the handshake of an upgrade that `admit` has decided about. @internal */
  completeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Session | undefined {
    let session: Session | undefined;
    this.#handshake.accept(request, socket, head, (webSocket) => {
      session = this.attach(webSocket, request);
    });
    return session;
  }

  /** Options for a `ws` server whose sockets are attached here. */
  get wsOptions(): WsOptions {
    return this.#handshake.wsOptions;
  }

  /**
   * Decides whether a connection is accepted, before its upgrade, and reserves a slot of `maxSessions` for it until its
   * socket is attached or gone. `context`, the framework's own request object, is given to `authenticate`. `host` is the
   * host that the client asked for, where the framework knows it better than the Host header does.
   */
  admit(request: IncomingMessage, context?: unknown, host?: string): Promise<Admission> {
    return this.#admission.admit(request, context, host);
  }

  /** As `admit`, for a connection that has its slot already. @internal */
  checkAdmission(request: IncomingMessage, context?: unknown, host?: string): Promise<Admission> {
    return this.#admission.checkAdmission(request, context, host);
  }

  stats(): RelayStats {
    const { sends, ...counters } = this.counters;
    const now = { sessions: this.#sessions.size, threads: 0, pending: 0, waiting: 0 };
    const bytes = { ...this.#bytes };
    for (const { threadCount, pending, waiting, request } of this.#sessions) {
      now.threads += threadCount;
      now.pending += pending;
      now.waiting += waiting;
      addBytes(bytes, request);
    }
    const refused = { ...this.#admission.refused };
    return { ...now, ...counters, sends: { ...sends }, bytes, refused, breakers: this.config.client.endpoints() };
  }

  /**
   * Lets pending sends finish for `drainTimeout` (or `timeout`) milliseconds, then closes all connections with 1001
   * and ends all chats, side by side, within `cleanupTimeout`. Calling it again gives the same promise.
   */
  close(options: { timeout?: number } = {}): Promise<CloseSummary> {
    this.#closing ??= this.#close(Math.min(options.timeout ?? this.config.drainTimeout, LONGEST_TIME));
    this.#admission.close();
    return this.#closing;
  }

  async #close(drainTimeout: number): Promise<CloseSummary> {
    const sessions = [...this.#sessions];
    const before = { ...this.counters };
    await withTimeout(Promise.all(sessions.map((session) => session.drain())), drainTimeout);
    for (const session of this.#sessions) session.shutDown();
    const all = new Set([...sessions, ...this.#sessions]);
    const grace = setTimeout(() => {
      for (const session of this.#sessions) session.terminate();
    }, CLOSE_GRACE);
    await Promise.all([...all].map((session) => session.closed));
    clearTimeout(grace);
    clearInterval(this.#timer);
    if (this.config.ownsClient) await this.config.client.close();
    const { ended, unconfirmed, orphans } = this.counters;
    return {
      sessions: sessions.length,
      ended: ended + unconfirmed - before.ended - before.unconfirmed,
      failed: orphans - before.orphans,
    };
  }

  /** @internal */
  left(): void {
    this.#admission.releaseSlot();
  }

  /** @internal */
  ended(session: Session): void {
    this.#sessions.delete(session);
    addBytes(this.#bytes, session.request);
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

/** Adds those of a connection so far. A request that a test has injected has no socket. */
function addBytes(bytes: RelayStats['bytes'], { socket }: { socket: IncomingMessage['socket'] | undefined }): void {
  bytes.received += socket?.bytesRead ?? 0;
  bytes.sent += socket?.bytesWritten ?? 0;
}
