import type { IncomingMessage } from 'node:http';
import { invokeHook } from '../../hooks.js';
import { LogLimiter } from '../../log-limiter.js';
import { isThenable } from '../../values.js';
import type { RelayConfig } from '../options.js';
import { isHostAllowed, isOriginAllowed, requestedHost } from './origin.js';
import { type Admission, lineOf, makeRefusal, type Refusal, type RefusalReason } from './refusal.js';
import type { CheckAdmission } from './session-admission.js';
import { SignedOutUsers, type WaitingConnection } from './signed-out-users.js';

const NOT_AUTHENTICATED = makeRefusal('authentication', 401, 'Not authenticated');
const WRONG_HOST = makeRefusal('host', 403, 'This host is not allowed');
const WRONG_ORIGIN = makeRefusal('origin', 403, 'This origin is not allowed');
const TIMED_OUT = makeRefusal('timeout', 503, 'Authentication takes too long');
const SHUTDOWN = makeRefusal('shutdown', 503, 'The server is shutting down');
const FULL = makeRefusal('capacity', 503, 'Too many connections');
const DISCONNECTED = makeRefusal('disconnected', 503, 'The client has gone');

/** Characters of a header that are logged: a client may send long ones. */
const LOGGED_CHARACTERS = 256;

/** Ends the wait for `authenticate`. It is a class, so that no identity is taken for it. */
class Interruption {
  readonly refused: Refusal;

  constructor(refused: Refusal) {
    this.refused = refused;
  }
}

type Interrupts = Set<(refused: Refusal) => void>;

/** The result of the checks. `err`: what `authenticate` or `allowedOrigins` threw, which is for the log only. */
type Checked = { identity: unknown } | { refused: Refusal; err?: unknown };

/** What `admit` decided about a request whose socket is not attached yet. */
interface Decision {
  admission: Admission;
  /** Stops waiting for the client to leave; its slot is the session's from now on. */
  keepSlot(): void;
  /** Whether the sessions of its user were ended meanwhile. */
  isEnded(): boolean;
}

/**
 * Decides which connections a relay accepts: by capacity, Host, Origin and authentication, in this order. A connection
 * takes one of `maxSessions` slots before it is authenticated, so that a burst cannot pass the limit meanwhile.
 */
export class AdmissionControl {
  /** Refusals so far. */
  readonly refused: Record<RefusalReason, number> = {
    shutdown: 0,
    capacity: 0,
    host: 0,
    origin: 0,
    authentication: 0,
    timeout: 0,
  };
  readonly #config: RelayConfig;
  readonly #keyOf: (identity: unknown) => string | undefined;
  readonly #signedOutUsers = new SignedOutUsers();
  readonly #limiter = new LogLimiter();
  readonly #decisions = new WeakMap<IncomingMessage, Decision>();
  /** End each wait for an `authenticate` before an upgrade; sessions that are authenticated are closed by the relay. */
  readonly #interrupts: Interrupts = new Set();
  #slots = 0;
  #isClosing = false;

  /** `keyOf`: the key of an identity, as `refuseUser` is given it. */
  constructor(config: RelayConfig, keyOf: (identity: unknown) => string | undefined) {
    this.#config = config;
    this.#keyOf = keyOf;
  }

  /** Refuses every connection from now on, those that are being authenticated too. */
  close(): void {
    this.#isClosing = true;
    for (const interrupt of this.#interrupts) interrupt(SHUTDOWN);
  }

  /** Refuses the connections of a user that have no session yet, because their identity may be out of date. */
  refuseUser(key: string): void {
    this.#signedOutUsers.add(key);
  }

  /** Decides before the upgrade, and reserves a slot. `given`: the host as the framework knows it, if it does. */
  async admit(request: IncomingMessage, context: unknown, given: string | undefined): Promise<Admission> {
    const host = this.#hostOf(request, given);
    if (this.#isClosing) return this.#refuse(request, host, SHUTDOWN);
    if (this.#slots >= this.#config.maxSessions) return this.#refuse(request, host, FULL);
    this.#slots += 1;
    let hasSlot = true;
    const waiting = this.#signedOutUsers.wait();
    const release = (): void => {
      if (!hasSlot) return;
      hasSlot = false;
      this.#slots -= 1;
      this.#signedOutUsers.leave(waiting);
      stopListening();
      this.#decisions.delete(request);
    };
    const stopListening = onLeave(request, release);
    try {
      const admission = this.#recheck(await this.#check(request, context, host, this.#interrupts), waiting);
      if ('refused' in admission) {
        release();
        return this.#refuse(request, host, admission.refused, admission.err);
      }
      if (this.#isClosing || hasLeft(request)) {
        release();
        return this.#refuse(request, host, this.#isClosing ? SHUTDOWN : DISCONNECTED);
      }
      const keepSlot = (): void => {
        this.#signedOutUsers.leave(waiting);
        stopListening();
      };
      const isEnded = (): boolean => 'refused' in this.#recheck(admission, waiting);
      this.#decisions.set(request, { admission, keepSlot, isEnded });
      return admission;
    } catch (error) {
      release();
      throw error;
    }
  }

  /**
   * Decides after the upgrade, for a session that has its slot. The session is told at once: if its user's sessions are ended a
   * moment later, it must be one of them.
   */
  async checkAdmission(...[request, context, given, onDecided]: Parameters<CheckAdmission>): Promise<void> {
    const host = this.#hostOf(request, given);
    const waiting = this.#signedOutUsers.wait();
    try {
      const admission = this.#recheck(await this.#check(request, context, host), waiting);
      if ('refused' in admission) this.#report(request, host, admission.refused, true, admission.err);
      onDecided(admission);
    } finally {
      this.#signedOutUsers.leave(waiting);
    }
  }

  /** What `admit` decided about a request whose socket is not attached yet. */
  decisionOn(request: IncomingMessage): Admission | undefined {
    return this.#decisions.get(request)?.admission;
  }

  /** A session takes its slot, or the one that `admit` has reserved. Gives why it is to be closed at once, if so. */
  takeSlot(request: IncomingMessage): Refusal | undefined {
    const decision = this.#decisions.get(request);
    this.#decisions.delete(request);
    const isEnded = decision?.isEnded() === true;
    decision?.keepSlot();
    if (decision !== undefined && 'identity' in decision.admission) {
      if (!isEnded) return undefined;
      this.#report(request, this.#hostOf(request), NOT_AUTHENTICATED, true);
      return NOT_AUTHENTICATED;
    }
    this.#slots += 1;
    if (decision !== undefined && 'refused' in decision.admission) return decision.admission.refused;
    if (this.#isClosing || this.#slots <= this.#config.maxSessions) return undefined;
    this.#report(request, this.#hostOf(request), FULL, true);
    return FULL;
  }

  /** A session releases its slot. */
  releaseSlot(): void {
    this.#slots -= 1;
  }

  /** The host that the client asked for: as the framework knows it, or a trusted proxy, or the Host header. */
  #hostOf(request: IncomingMessage, given?: string): string | undefined {
    const { trustProxy } = this.#config;
    return given === undefined || trustProxy ? requestedHost(request, trustProxy) : given;
  }

  #refuse(request: IncomingMessage, host: string | undefined, refused: Refusal, err?: unknown): Admission {
    const isAccepted = this.#config.refuseWith === 'close';
    const admission = { refused };
    // The host still accepts the upgrade, so that the client gets a close code.
    if (isAccepted) this.#decisions.set(request, { admission, keepSlot: () => {}, isEnded: () => false });
    this.#report(request, host, refused, isAccepted, err);
    return admission;
  }

  /** Refuses a user whose sessions were ended while the connection waited. */
  #recheck(checked: Checked, waiting: WaitingConnection): Checked {
    if ('refused' in checked || this.#signedOutUsers.size === 0) return checked;
    const key = this.#keyOf(checked.identity);
    return key !== undefined && this.#signedOutUsers.has(waiting, key) ? { refused: NOT_AUTHENTICATED } : checked;
  }

  /** Host, Origin and authentication. */
  async #check(
    request: IncomingMessage,
    context: unknown,
    host: string | undefined,
    interrupts?: Interrupts,
  ): Promise<Checked> {
    const { allowedHosts, allowedOrigins, authenticate } = this.#config;
    if (allowedHosts !== undefined && !isHostAllowed(host, allowedHosts)) return { refused: WRONG_HOST };
    try {
      if (!isOriginAllowed(request, allowedOrigins, host)) return { refused: WRONG_ORIGIN };
    } catch (err) {
      return { refused: WRONG_ORIGIN, err };
    }
    try {
      const asked = authenticate?.(request, context);
      const identity = isThenable(asked) ? await this.#settle(request, asked, interrupts) : asked;
      if (identity instanceof Interruption) return { refused: identity.refused };
      const hasNoIdentity = identity === null || identity === undefined || identity === false;
      return authenticate !== undefined && hasNoIdentity ? { refused: NOT_AUTHENTICATED } : { identity };
    } catch (err) {
      return { refused: refusalOf(err), err };
    }
  }

  /** Waits for `authenticate`, unless it takes too long, the client leaves or the relay is closed. */
  #settle(request: IncomingMessage, asked: PromiseLike<unknown>, interrupts?: Interrupts): Promise<unknown> {
    const { authenticateTimeout } = this.#config;
    return new Promise((resolve, reject) => {
      const interrupt = (refused: Refusal): void => {
        stopWaiting();
        resolve(new Interruption(refused));
      };
      const stopListening = onLeave(request, () => interrupt(DISCONNECTED));
      const isLimited = authenticateTimeout > 0;
      const timer = isLimited ? setTimeout(() => interrupt(TIMED_OUT), authenticateTimeout).unref() : undefined;
      const stopWaiting = (): void => {
        clearTimeout(timer);
        interrupts?.delete(interrupt);
        stopListening();
      };
      interrupts?.add(interrupt);
      Promise.resolve(asked).finally(stopWaiting).then(resolve, reject);
    });
  }

  /** Counts and logs a refusal, with the host that the Origin was compared with, and calls the hook. */
  #report(
    request: IncomingMessage,
    host: string | undefined,
    refusal: Refusal,
    isUpgraded: boolean,
    err?: unknown,
  ): void {
    const { reason, status, closeCode } = refusal;
    if (reason === 'disconnected') return;
    this.refused[reason] += 1;
    const { hooks, logger } = this.#config;
    const answer = isUpgraded ? { closeCode } : { status };
    // Limited by line, not by reason: many refused clients must not suppress the line that says that `authenticate` throws.
    const line = lineOf(reason, err !== undefined);
    const suppressed = this.#limiter.take(line);
    if (suppressed !== undefined) {
      const about = { reason, ...answer, host: cut(host), origin: cut(request.headers.origin), suppressed };
      logger.warn(err === undefined ? about : { ...about, err }, line);
    }
    if (hooks.onRefuse === undefined) return;
    invokeHook(
      () => hooks.onRefuse?.({ request, reason, ...answer }),
      (error) => logger.error({ err: error }, 'the hook onRefuse threw'),
    );
  }
}

/** A request that a test has injected has no socket. */
function socketOf(request: IncomingMessage): IncomingMessage['socket'] | undefined {
  return request.socket;
}

/**
 * Calls back when the client closes its side, which no WebSocket client does before the handshake is over. Returns a
 * function that ends the wait.
 */
function onLeave(request: IncomingMessage, callback: () => void): () => void {
  const socket = socketOf(request);
  socket?.once('close', callback).once('end', callback);
  return () => void socket?.off('close', callback).off('end', callback);
}

function hasLeft(request: IncomingMessage): boolean {
  const socket = socketOf(request);
  return socket !== undefined && (socket.destroyed || socket.readableEnded);
}

function cut(header: string | undefined): string | undefined {
  return header?.slice(0, LOGGED_CHARACTERS);
}

/** The refusal for an error that `authenticate` threw. */
function refusalOf(error: unknown): Refusal {
  const { statusCode: status, message } = Object(error) as { statusCode?: unknown; message?: unknown };
  const isStatus = typeof status === 'number' && Number.isInteger(status) && status >= 400 && status <= 599;
  if (!isStatus) return NOT_AUTHENTICATED;
  // The message of a 4xx is for the client; that of a 5xx is not.
  const isPublic = status < 500 && typeof message === 'string' && message !== '';
  const general = status < 500 ? NOT_AUTHENTICATED.message : 'Authentication failed';
  return makeRefusal('authentication', status, isPublic ? message : general);
}
