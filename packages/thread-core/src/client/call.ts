import { errors } from 'undici';
import { AgentNotFoundError, AgentUnreachableError, AuthenticationError, readAgentError } from '../protocol/errors.js';
import { answersRequest, writeRequest } from './arc-request.js';
import { Attempt } from './attempt.js';
import type { AttemptOwner } from './attempt-owner.js';
import * as failures from './call-errors.js';
import { CallLifecycle, NON_FINITE, Repeats } from './call-lifecycle.js';
import { readCookies } from './cookies.js';
import { type Endpoint, followRedirect } from './endpoint.js';
import { impliedDone, type StreamEvent } from './event.js';
import { parseResponse } from './response-parser.js';
import { MAX_WAIT_MS, pauseBefore } from './retry.js';
import { isTokenRejected, type TokenSource } from './token.js';
import { dropBytes, isOfEndpoint, isPassing } from './transport-error.js';

export type { CallListener, CallOwner, CallRequest } from './call-request.js';

/** HTTP statuses with which a proxy, or the endpoint itself, says that the agent cannot be reached. */
const GATEWAY_FAILURES: ReadonlySet<number> = new Set([502, 503, 504]);

const FOREIGN_ID = 'an agent answers with an id that is not that of the request';

const MAX_REDIRECTS = 3;

/** One request to its caller: as many attempts as retries, redirects and the renewal of a token take. */
export class Call extends CallLifecycle implements AttemptOwner {
  /** Exists until the request cannot be sent again. */
  #body = '';

  /** Sends the request. Called once. */
  start(): this {
    try {
      this.endpoint = this.#findEndpoint();
      // The function `endpoint` of the application may have cancelled the call.
      if (!this.isSettled) this.#sendFirst();
    } catch (error) {
      this.fail(error);
    } finally {
      if (this.state === 'starting') this.state = 'running';
    }
    this.trace?.started();
    return this;
  }

  #sendFirst(): void {
    this.#body = writeRequest(this.request, this.config.nextRequestId(), this.config.requestAgent);
    const token = this.#tokens.get();
    if (typeof token === 'object') this.#sendWith(token, false);
    else if (this.config.endpoints.hasOwnConnections) this.run(() => this.#send(token, false));
    // Later, because other dispatchers (a MockAgent, for one) may answer before `dispatch` returns.
    else queueMicrotask(() => this.run(() => this.#send(token, false)));
  }

  get #repeated(): Repeats {
    this.repeats ??= new Repeats();
    return this.repeats;
  }

  get #tokens(): TokenSource {
    return this.owner?.tokens ?? this.config.tokens;
  }

  #findEndpoint(): Endpoint {
    const { endpoints } = this.config;
    const { targetAgent } = this.request;
    if (endpoints.isClosed) {
      const about = failures.factsOf(this.request, new errors.ClientDestroyedError());
      throw new AgentUnreachableError('The client was closed', about);
    }
    const endpoint = endpoints.of(targetAgent);
    if (endpoint !== undefined) return endpoint;
    throw new AgentNotFoundError(`No endpoint for agent "${targetAgent}"`, failures.factsOf(this.request));
  }

  #sendWith(token: Promise<string>, isFollowUp: boolean): void {
    token.then(
      (value) => this.run(() => this.#send(value, isFollowUp)),
      (cause: unknown) => {
        this.fail(
          new AuthenticationError('No token for the agent could be had', failures.factsOf(this.request, cause)),
        );
      },
    );
  }

  /** `isFollowUp`: after a redirect or a rejected token, which is no new request to the endpoint. */
  #send(token: string | undefined, isFollowUp: boolean): void {
    if (this.isSettled) return;
    const endpoint = this.endpoint as Endpoint;
    const { breaker } = endpoint;
    if (breaker.isOpen && !isFollowUp && !breaker.takesProbe(this.owner)) {
      this.attempt = undefined;
      return this.fail(failures.circuitOpen(this.facts(), breaker));
    }
    const { endpoints } = this.config;
    const own = this.config.headers.of(this.request, this.owner, token, endpoint.origin);
    // The function `headers` may have cancelled the call.
    if (this.isSettled) return;
    const headers = this.trace?.sending(own, this.#body, endpoint.address) ?? own;
    const isStream = this.request.params.stream === true;
    const attempt = new Attempt(this, endpoint, token, this.config, isStream, this.isPaused);
    attempt.runInSpan = this.trace?.context.run;
    this.attempt = attempt;
    try {
      endpoints.post(endpoint, headers, this.#body, attempt, this.owner);
    } catch (error) {
      attempt.onResponseError(undefined, error);
    }
  }

  /** Drops the last attempt and what has arrived of its answer, before the next attempt. */
  #abandonAttempt(): void {
    const attempt = this.attempt as Attempt;
    attempt.abort(new Error('The request is sent again'));
    if (!attempt.isStream) return;
    this.attempt = undefined;
    this.watch();
  }

  /** Sends again what certainly did not reach the agent, if there is time, after a pause and what the agent asks for. */
  #retry(after = 0): boolean {
    const repeats = this.#repeated;
    const left = this.deadline === Number.POSITIVE_INFINITY ? MAX_WAIT_MS : this.deadline - performance.now();
    const pause = after + pauseBefore(repeats.retries);
    const most = this.request.retries ?? this.config.retries;
    if (repeats.retries >= most || pause >= left || this.endpoint?.breaker.isOpen) return false;
    const { token } = this.attempt as Attempt;
    repeats.retries += 1;
    this.#abandonAttempt();
    repeats.timer = setTimeout(() => this.run(() => this.#send(token, false)), pause);
    return true;
  }

  /** Asks for a newer token and sends again: once, and only if a function gives tokens. */
  #renewToken(): boolean {
    if (this.#repeated.hasRenewedToken) return false;
    const token = this.#tokens.refresh(this.attempt?.token);
    if (token === undefined) return false;
    this.#repeated.hasRenewedToken = true;
    this.#abandonAttempt();
    this.#sendWith(Promise.resolve(token), true);
    return true;
  }

  /** @internal */
  get mayWrite(): boolean {
    return this.request.method === 'chat.end' || this.owner?.observer?.mayWrite?.() !== false;
  }

  /** @internal */
  get keepsCookies(): boolean {
    return this.config.cookies !== undefined && this.request.chat !== undefined;
  }

  /** @internal */
  onCookies(setCookie: string | string[], { origin }: Endpoint): void {
    const { chat } = this.request;
    const { cookies } = this.config;
    if (chat !== undefined && cookies !== undefined) {
      chat.cookies = readCookies(setCookie, chat.cookies, origin, cookies);
    }
  }

  /** @internal */
  onRedirect(location: string): Endpoint | undefined {
    const to = followRedirect(this.endpoint as Endpoint, location);
    if (typeof to === 'string') this.fail(failures.notArc(this.facts(), to));
    else if (++this.#repeated.redirects > MAX_REDIRECTS)
      this.fail(failures.notArc(this.facts(), 'one redirect after another'));
    else return to;
    return undefined;
  }

  /** @internal */
  onRedirectEnd(endpoint: Endpoint): void {
    const { token } = this.attempt as Attempt;
    this.endpoint = endpoint;
    this.#abandonAttempt();
    this.#send(token, true);
  }

  /** @internal */
  onStreamStart(): void {
    const total = this.timeoutOf('streamTimeout');
    if (total > 0 && this.attempt !== undefined) this.attempt.streamDeadline = performance.now() + total;
    this.watch();
  }

  /** @internal */
  onProgress(): void {
    this.watch();
  }

  /** @internal */
  onStreamEvent(event: StreamEvent): void {
    const attempt = this.attempt as Attempt;
    if (attempt.events === 1 && !this.#isAnswered(event)) return;
    if (this.trace !== undefined) this.trace.context.bytes += event.bytes.length;
    if (event.event !== 'done' && event.event !== 'error') return this.listener.onEvent(event);
    this.settle(event.event, this.trace && event.event === 'error' ? readAgentError(event.data, {}) : undefined);
    // The agent may still have something to say, such as `done` after `error`, before it ends its answer.
    if (attempt.hasConnection) this.drain(attempt);
    else attempt.isSettled = true;
    this.listener.onEvent(event);
  }

  /** Whether a stream's first event is one of an answer, and not of a rejected token for which there is a newer one. */
  #isAnswered(event: StreamEvent): boolean {
    this.endpoint?.breaker.answered();
    if (event.event === 'error') {
      const isRejected = this.attempt?.status === 401 || isTokenRejected(readAgentError(event.data, {}));
      if (isRejected && this.#renewToken()) return false;
    }
    // It is not sent again now, and a stream may be long.
    this.#body = '';
    return true;
  }

  /** @internal */
  onStreamEnd(isComplete: boolean): void {
    const { events } = this.attempt as Attempt;
    if (events === 0) return this.fail(failures.notArc(this.facts(), 'a stream without an event'));
    if (!isComplete) return this.fail(failures.streamBrokeOff(this.facts(), 'it ended without done'));
    this.settle('done');
    this.listener.onEvent(impliedDone());
  }

  /** @internal */
  onBody(body: Buffer): void {
    const { status, contentType, retryAfter } = this.attempt as Attempt;
    const { breaker } = this.endpoint as Endpoint;
    const { text, envelope, error, hadNonFinite } = parseResponse(body, contentType, () => this.facts());
    if (envelope !== undefined) breaker.answered();
    else if (GATEWAY_FAILURES.has(status)) breaker.failed(this.owner);
    if (hadNonFinite) this.warn(NON_FINITE);
    if ((status === 401 || (error !== undefined && isTokenRejected(error))) && this.#renewToken()) return;
    if (error !== undefined && retryAfter !== undefined && this.#retry(retryAfter)) return;
    if (error !== undefined) return this.fail(error);
    // An answer belongs to its connection, so another id does no harm.
    if (!answersRequest(envelope, this.#body)) this.warn(FOREIGN_ID);
    if (this.trace !== undefined) this.trace.context.bytes = text.length;
    this.settle('response');
    this.listener.onResponse(text, envelope);
  }

  /** @internal */
  onTooLarge(what: 'answer' | 'event', limit: number): void {
    this.fail(failures.tooLarge(this.facts(), what, limit));
  }

  /** @internal */
  onUndecodable(reason: string): void {
    const about = this.facts();
    this.fail(this.attempt?.isStream ? failures.streamBrokeOff(about, reason) : failures.notArc(about, reason));
  }

  /** @internal */
  onConnectionError(error: unknown): void {
    const attempt = this.attempt as Attempt;
    if (!attempt.isStream) this.onConnectFailure(error);
    if (!attempt.wasWritten && isPassing(error) && this.#retry()) return;
    this.fail(failures.connectionError(this.facts(dropBytes(error)), attempt));
  }

  /** @internal */
  onConnectFailure(error: unknown): void {
    if (isOfEndpoint(error)) this.endpoint?.breaker.failed(this.owner);
  }
}
