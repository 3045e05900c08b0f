import { errors } from 'undici';
import {
  AgentNotFoundError,
  AgentUnreachableError,
  type ArcErrorOptions,
  AuthenticationError,
  InternalError,
  readAgentError,
} from '../protocol/errors.js';
import { answersRequest, writeRequest } from './arc-request.js';
import { Attempt, type AttemptOwner } from './attempt.js';
import * as failures from './call-errors.js';
import type { CallListener, CallOwner, CallRequest, CallTimeouts } from './call-request.js';
import { CallTrace, callChannel } from './call-trace.js';
import { readCookies } from './cookies.js';
import { type Endpoint, followRedirect } from './endpoint.js';
import { impliedDone, type StreamEvent } from './event.js';
import type { ClientConfig, RunningCall } from './options.js';
import { parseResponse } from './response-parser.js';
import { MAX_WAIT_MS, pauseBefore } from './retry.js';
import { isTokenRefused, type TokenSource } from './token.js';
import { isOfEndpoint, isPassing, markNeverSent } from './transport-error.js';

export type { CallListener, CallOwner, CallRequest } from './call-request.js';

/** HTTP statuses with which a proxy, or the endpoint itself, says that the agent cannot be reached. */
const GATEWAY_FAILURES: ReadonlySet<number> = new Set([502, 503, 504]);

const NON_FINITE = 'an agent sends NaN or Infinity, which are not JSON: they are passed on as null';
const FOREIGN_ID = 'an agent answers with an id that is not that of the request';

const MAX_REDIRECTS = 3;

/** Milliseconds that an agent has after `done` to end its answer, so that the connection can be used again. */
const DRAIN_TIMEOUT_MS = 1000;

/** One request to its caller: as many attempts as retries, redirects and the renewal of a token take. */
export class Call implements AttemptOwner, RunningCall {
  /** @internal */
  index = -1;
  /** @internal */
  deadline = Number.POSITIVE_INFINITY;
  readonly #config: ClientConfig;
  readonly #request: CallRequest;
  readonly #listener: CallListener;
  readonly #owner: CallOwner | undefined;
  /** Exists only if somebody subscribes to the tracing channel `arc.call`. */
  readonly #trace: CallTrace | undefined;
  /** `starting`: the caller does not have the call yet, so nothing is told. */
  #state: 'starting' | 'running' | 'settled' = 'starting';
  #endpoint: Endpoint | undefined;
  #body = '';
  /** The last attempt, also while the next one is waited for. */
  #attempt: Attempt | undefined;
  #isPaused = false;
  #retries = 0;
  #redirects = 0;
  #hasRenewedToken = false;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor(config: ClientConfig, request: CallRequest, listener: CallListener, owner: CallOwner | undefined) {
    this.#config = config;
    this.#request = request;
    this.#listener = listener;
    this.#owner = owner;
    this.#trace = callChannel.hasSubscribers ? new CallTrace(request, owner) : undefined;
    config.deadlines.add(this);
    this.#watch();
    this.#start();
    this.#trace?.started();
  }

  #start(): void {
    try {
      this.#endpoint = this.#findEndpoint();
      this.#body = writeRequest(this.#request, this.#config.nextRequestId(), this.#config.requestAgent);
      const token = this.#tokens.get();
      if (typeof token === 'object') this.#sendWith(token, false);
      else if (this.#config.endpoints.hasOwnConnections) this.#run(() => this.#send(token, false));
      // Later, because other dispatchers (a MockAgent, for one) may answer before `dispatch` returns.
      else queueMicrotask(() => this.#run(() => this.#send(token, false)));
    } catch (error) {
      this.#fail(error);
    } finally {
      if (this.#state === 'starting') this.#state = 'running';
    }
  }

  /**
   * Whether the agent may have acted on the request: whether a byte of the last attempt was written. Those before it were not
   * written either, or refused.
   */
  get wasSent(): boolean {
    return this.#attempt?.wasWritten === true;
  }

  /** Abandons the call: the connection is closed, and the listener hears nothing more. */
  cancel(): void {
    this.#settle('cancelled');
    this.#attempt?.abort(new Error('The call was cancelled'));
  }

  abandon(): void {
    if (this.#state === 'settled') this.cancel();
    else this.#fail(new AgentUnreachableError('The client was closed', this.about()));
  }

  /** Stops reading the answer until `resume`. Meanwhile no time-out runs, except for that of a whole stream. */
  pause(): void {
    if (this.#isPaused || this.#state === 'settled') return;
    this.#isPaused = true;
    this.#attempt?.pause();
    this.#watch();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#state !== 'settled') this.#watch();
    this.#attempt?.resume();
  }

  /** What an error of this call is about. */
  about(cause?: unknown): ArcErrorOptions {
    return this.#about(cause);
  }

  #about(cause?: unknown): failures.CallFacts {
    const status = this.#attempt?.status || undefined;
    return { ...failures.factsOf(this.#request, cause), status, address: this.#endpoint?.address };
  }

  get #tokens(): TokenSource {
    return this.#owner?.tokens ?? this.#config.tokens;
  }

  #timeoutOf(name: keyof CallTimeouts): number {
    return this.#request[name] ?? this.#config[name];
  }

  #findEndpoint(): Endpoint {
    const { endpoints } = this.#config;
    const { targetAgent } = this.#request;
    if (endpoints.isClosed) {
      const about = failures.factsOf(this.#request, new errors.ClientDestroyedError());
      throw new AgentUnreachableError('The client was closed', about);
    }
    const endpoint = endpoints.of(targetAgent);
    if (endpoint !== undefined) return endpoint;
    throw new AgentNotFoundError(`No endpoint for agent "${targetAgent}"`, failures.factsOf(this.#request));
  }

  /** Restarts the time-out: of a stream, between two chunks; of any other answer, until it is complete. */
  #watch(): void {
    const delay = this.#timeoutOf(this.#attempt?.isStream ? 'streamIdleTimeout' : 'timeout');
    const end = delay > 0 && !this.#isPaused ? performance.now() + delay : Number.POSITIVE_INFINITY;
    this.deadline = Math.min(end, this.#attempt?.streamEnd ?? Number.POSITIVE_INFINITY);
    this.#config.deadlines.note(this.deadline);
  }

  #sendWith(token: Promise<string>, isFollowUp: boolean): void {
    token.then(
      (value) => this.#run(() => this.#send(value, isFollowUp)),
      (cause: unknown) => {
        this.#fail(
          new AuthenticationError('No token for the agent could be had', failures.factsOf(this.#request, cause)),
        );
      },
    );
  }

  /** `isFollowUp`: after a redirect or a refused token, which is no new request to the endpoint. */
  #send(token: string | undefined, isFollowUp: boolean): void {
    if (this.#state === 'settled') return;
    const endpoint = this.#endpoint as Endpoint;
    const { breaker } = endpoint;
    if (breaker.isOpen && !isFollowUp && !breaker.takesProbe(this.#owner)) {
      this.#attempt = undefined;
      return this.#fail(failures.circuitOpen(this.#about(), breaker));
    }
    const { endpoints } = this.#config;
    const own = this.#config.headers.of(this.#request, this.#owner, token, endpoint.origin);
    const headers = this.#trace?.sending(own, this.#body, endpoint.address) ?? own;
    const isStream = this.#request.params.stream === true;
    const attempt = new Attempt(this, endpoint, token, this.#config, isStream, this.#isPaused);
    attempt.run = this.#trace?.context.run;
    this.#attempt = attempt;
    try {
      endpoints.post(endpoint, headers, this.#body, attempt, this.#owner);
    } catch (error) {
      attempt.onResponseError(undefined, error);
    }
  }

  /** Drops what has come of the last attempt, before the next. */
  #abandonAttempt(): void {
    const attempt = this.#attempt as Attempt;
    attempt.abort(new Error('The request is sent again'));
    if (!attempt.isStream) return;
    this.#attempt = undefined;
    this.#watch();
  }

  /** Sends again what certainly did not reach the agent, if there is time, after a pause and what the agent asks for. */
  #retry(after = 0): boolean {
    const left = this.deadline === Number.POSITIVE_INFINITY ? MAX_WAIT_MS : this.deadline - performance.now();
    const pause = after + pauseBefore(this.#retries);
    const most = this.#request.retries ?? this.#config.retries;
    if (this.#retries >= most || pause >= left || this.#endpoint?.breaker.isOpen) return false;
    const { token } = this.#attempt as Attempt;
    this.#retries += 1;
    this.#abandonAttempt();
    this.#retryTimer = setTimeout(() => this.#run(() => this.#send(token, false)), pause);
    return true;
  }

  /** Asks for a newer token and sends again: once, and only where a function gives tokens. */
  #renewToken(): boolean {
    if (this.#hasRenewedToken) return false;
    const token = this.#tokens.refresh(this.#attempt?.token);
    if (token === undefined) return false;
    this.#hasRenewedToken = true;
    this.#abandonAttempt();
    this.#sendWith(Promise.resolve(token), true);
    return true;
  }

  /** @internal */
  get keepsCookies(): boolean {
    return this.#config.cookies !== undefined && this.#request.chat !== undefined;
  }

  /** @internal */
  onCookies(setCookie: string | string[], { origin }: Endpoint): void {
    const { chat } = this.#request;
    const { cookies } = this.#config;
    if (chat !== undefined && cookies !== undefined) {
      chat.cookies = readCookies(setCookie, chat.cookies, origin, cookies);
    }
  }

  /** @internal */
  onRedirect(location: string): Endpoint | undefined {
    const to = followRedirect(this.#endpoint as Endpoint, location);
    if (typeof to === 'string') this.#fail(failures.notArc(this.#about(), to));
    else if (++this.#redirects > MAX_REDIRECTS)
      this.#fail(failures.notArc(this.#about(), 'one redirect after another'));
    else return to;
    return undefined;
  }

  /** @internal */
  onRedirectEnd(endpoint: Endpoint): void {
    const { token } = this.#attempt as Attempt;
    this.#endpoint = endpoint;
    this.#abandonAttempt();
    this.#send(token, true);
  }

  /** @internal */
  onStreamStart(): void {
    const total = this.#timeoutOf('streamTimeout');
    if (total > 0 && this.#attempt !== undefined) this.#attempt.streamEnd = performance.now() + total;
    this.#watch();
  }

  /** @internal */
  onProgress(): void {
    this.#watch();
  }

  /** @internal */
  onStreamEvent(event: StreamEvent): void {
    const attempt = this.#attempt as Attempt;
    if (attempt.events === 1 && !this.#isAnswered(event)) return;
    if (this.#trace !== undefined) this.#trace.context.bytes += event.bytes.length;
    if (event.event !== 'done' && event.event !== 'error') return this.#listener.onEvent(event);
    this.#settle(event.event, this.#trace && event.event === 'error' ? readAgentError(event.data, {}) : undefined);
    // The agent may still have something to say, such as `done` after `error`, before it ends its answer.
    if (attempt.isOpen) this.#drain(attempt);
    else attempt.isSettled = true;
    this.#listener.onEvent(event);
  }

  /** Whether a stream's first event is one of an answer, and not of a refused token for which there is a newer one. */
  #isAnswered(event: StreamEvent): boolean {
    this.#endpoint?.breaker.answered();
    if (event.event === 'error') {
      const isRefused = this.#attempt?.status === 401 || isTokenRefused(readAgentError(event.data, {}));
      if (isRefused && this.#renewToken()) return false;
    }
    // It is not sent again now, and a stream may be long.
    this.#body = '';
    return true;
  }

  /** @internal */
  onStreamEnd(isComplete: boolean): void {
    const { events } = this.#attempt as Attempt;
    if (events === 0) return this.#fail(failures.notArc(this.#about(), 'a stream without an event'));
    if (!isComplete) return this.#fail(failures.streamBrokeOff(this.#about(), 'it ended without done'));
    this.#settle('done');
    this.#listener.onEvent(impliedDone());
  }

  /** @internal */
  onBody(body: Buffer): void {
    const { status, contentType, retryAfter } = this.#attempt as Attempt;
    const { breaker } = this.#endpoint as Endpoint;
    const { text, envelope, error, hadNonFinite } = parseResponse(body, contentType, () => this.#about());
    if (envelope !== undefined) breaker.answered();
    else if (GATEWAY_FAILURES.has(status)) breaker.failed(this.#owner);
    if (hadNonFinite) this.#warn(NON_FINITE);
    if ((status === 401 || (error !== undefined && isTokenRefused(error))) && this.#renewToken()) return;
    if (error !== undefined && retryAfter !== undefined && this.#retry(retryAfter)) return;
    if (error !== undefined) return this.#fail(error);
    // An answer belongs to its connection, so another id does no harm.
    if (!answersRequest(envelope, this.#body)) this.#warn(FOREIGN_ID);
    if (this.#trace !== undefined) this.#trace.context.bytes = text.length;
    this.#settle('response');
    this.#listener.onResponse(text, envelope);
  }

  /** @internal */
  onTooLarge(what: 'answer' | 'event', limit: number): void {
    this.#fail(failures.tooLarge(this.#about(), what, limit));
  }

  /** @internal */
  onUndecodable(reason: string): void {
    const about = this.#about();
    this.#fail(this.#attempt?.isStream ? failures.streamBrokeOff(about, reason) : failures.notArc(about, reason));
  }

  /** @internal */
  onConnectionError(error: unknown): void {
    const attempt = this.#attempt as Attempt;
    if (!attempt.isStream) this.onConnectFailure(error);
    if (!attempt.wasWritten && isPassing(error) && this.#retry()) return;
    this.#fail(failures.connectionError(this.#about(error), attempt));
  }

  /** @internal */
  onConnectFailure(error: unknown): void {
    if (isOfEndpoint(error)) this.#endpoint?.breaker.failed(this.#owner);
  }

  /** @internal */
  onDrained(): void {
    if (this.#state === 'settled') this.#config.deadlines.delete(this);
  }

  /** @internal */
  timeOut(): void {
    this.#run(() => this.#onTimeout());
  }

  #onTimeout(): void {
    if (this.#state === 'settled') return this.cancel();
    const { phase, limit } = this.#expired();
    // A call that still waits for a connection tells nothing of the endpoint.
    if (phase === 'answer' && this.#attempt?.isOpen) this.#endpoint?.breaker.failed(this.#owner);
    this.#fail(failures.timedOut(this.#about(), phase, limit));
  }

  #expired(): { phase: failures.Phase; limit: number } {
    const attempt = this.#attempt;
    if (attempt?.isStream) {
      const isWhole = this.deadline === attempt.streamEnd;
      if (isWhole) return { phase: 'whole stream', limit: this.#timeoutOf('streamTimeout') };
      return { phase: 'stream', limit: this.#timeoutOf('streamIdleTimeout') };
    }
    const isWaitingForToken = attempt === undefined || (attempt.isSettled && this.#retryTimer === undefined);
    return { phase: isWaitingForToken ? 'token' : 'answer', limit: this.#timeoutOf('timeout') };
  }

  #settle(state: 'response' | 'done' | 'error' | 'cancelled', error?: unknown): void {
    const isFirst = this.#state !== 'settled';
    if (this.#attempt?.hadNonFinite && isFirst) this.#warn(NON_FINITE);
    this.#state = 'settled';
    clearTimeout(this.#retryTimer);
    this.#config.deadlines.delete(this);
    if (isFirst) this.#trace?.finish(state, error);
  }

  /** The listener has heard the end. The rest of the answer is read, for a while. */
  #drain(attempt: Attempt): void {
    this.#isPaused = false;
    attempt.drain();
    this.deadline = performance.now() + DRAIN_TIMEOUT_MS;
    this.#config.deadlines.add(this);
    this.#config.deadlines.note(this.deadline);
  }

  #fail(error: unknown): void {
    if (this.#state === 'settled') return;
    if (this.#state === 'starting') return queueMicrotask(() => this.#fail(error));
    if (error instanceof Error && this.#attempt?.wasWritten !== true) markNeverSent(error);
    this.#settle('error', error);
    this.#attempt?.abort(error instanceof Error ? error : new Error(String(error)));
    try {
      this.#listener.onError(error);
    } catch (err) {
      this.#log(err, 'a listener threw when it was told of a failure');
    }
  }

  /** Runs what a callback of undici, a timer or a promise does. What it throws ends this call, and no other. */
  #run(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.onFault(error);
    }
  }

  /** A fault of this side, or a listener that throws. @internal */
  onFault(err: unknown): void {
    if (this.#state === 'settled') return this.#log(err, 'a listener threw when it was told of the end');
    this.#fail(new InternalError('The call could not be processed', this.about(err)));
  }

  #log(err: unknown, message: string): void {
    const { targetAgent: agentId, method, traceId } = this.#request;
    this.#config.log.error({ err, agentId, method, traceId }, message);
  }

  #warn(message: string): void {
    this.#config.log.warnOnce(this.#endpoint?.address ?? '', { agentId: this.#request.targetAgent }, message);
  }
}
