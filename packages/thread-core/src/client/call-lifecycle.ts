import { AgentUnreachableError, InternalError } from '../protocol/errors.js';
import type { Attempt } from './attempt.js';
import * as failures from './call-errors.js';
import type { CallListener, CallOwner, CallRequest, CallTimeouts } from './call-request.js';
import { CallTrace, callChannel } from './call-trace.js';
import type { Endpoint } from './endpoint.js';
import type { ClientConfig, RunningCall } from './options.js';
import { markNeverSent } from './transport-error.js';

/** Logged once for an endpoint. */
export const NON_FINITE = 'an agent sends NaN or Infinity, which are not JSON: they are passed on as null';

/** Milliseconds that an agent has after `done` to end its answer, so that the connection can be used again. */
const DRAIN_TIMEOUT_MS = 1000;

/** What was done again for a call. Most calls have nothing of it. */
export class Repeats {
  retries = 0;
  redirects = 0;
  hasRenewedToken = false;
  /** The next retry. */
  timer: NodeJS.Timeout | undefined;
}

/** A call from its beginning to its end, whatever is sent for it: its state, its time-outs, and how it fails. */
export abstract class CallLifecycle implements RunningCall {
  /** @internal */
  index = -1;
  /** @internal */
  deadline = Number.POSITIVE_INFINITY;
  protected readonly config: ClientConfig;
  protected readonly request: CallRequest;
  protected readonly listener: CallListener;
  protected readonly owner: CallOwner | undefined;
  /** Exists only if somebody subscribes to the tracing channel `arc.call`. */
  protected readonly trace: CallTrace | undefined;
  /** `starting`: the caller does not have the call yet, so the listener is not called. */
  protected state: 'starting' | 'running' | 'settled' = 'starting';
  protected endpoint: Endpoint | undefined;
  /** The last attempt, also while the next one is waited for. */
  protected attempt: Attempt | undefined;
  protected repeats: Repeats | undefined;
  protected isPaused = false;

  constructor(config: ClientConfig, request: CallRequest, listener: CallListener, owner: CallOwner | undefined) {
    this.config = config;
    this.request = request;
    this.listener = listener;
    this.owner = owner;
    this.trace = callChannel.hasSubscribers ? new CallTrace(request, owner) : undefined;
    config.deadlines.add(this);
    this.watch();
  }

  /**
   * Whether the agent may have acted on the request: whether a byte of the last attempt was written. Those before it were not
   * written either, or their token was rejected.
   */
  get wasSent(): boolean {
    return this.attempt?.wasWritten === true;
  }

  protected get isSettled(): boolean {
    return this.state === 'settled';
  }

  /** Abandons the call: the connection is closed, and the listener is not called any more. */
  cancel(): void {
    this.settle('cancelled');
    this.attempt?.abort(new Error('The call was cancelled'));
  }

  abandon(): void {
    if (this.state === 'settled') this.cancel();
    else this.fail(new AgentUnreachableError('The client was closed', this.facts()));
  }

  /** Stops reading the answer until `resume`. Meanwhile no time-out runs, except for that of a whole stream. */
  pause(): void {
    if (this.isPaused || this.state === 'settled') return;
    this.isPaused = true;
    this.attempt?.pause();
    this.watch();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (this.state !== 'settled') this.watch();
    this.attempt?.resume();
  }

  /** What an error of this call is about. */
  facts(cause?: unknown): failures.CallFacts {
    const status = this.attempt?.status || undefined;
    return { ...failures.factsOf(this.request, cause), status, address: this.endpoint?.address };
  }

  protected timeoutOf(name: keyof CallTimeouts): number {
    return this.request[name] ?? this.config[name];
  }

  /** Restarts the time-out: of a stream, between two chunks; of any other answer, until it is complete. */
  protected watch(): void {
    const delay = this.timeoutOf(this.attempt?.isStream ? 'streamIdleTimeout' : 'timeout');
    const end = delay > 0 && !this.isPaused ? performance.now() + delay : Number.POSITIVE_INFINITY;
    this.deadline = Math.min(end, this.attempt?.streamDeadline ?? Number.POSITIVE_INFINITY);
    this.config.deadlines.note(this.deadline);
  }

  /** @internal */
  onDrained(): void {
    if (this.state === 'settled') this.config.deadlines.delete(this);
  }

  /** @internal */
  timeOut(): void {
    this.run(() => this.#onTimeout());
  }

  #onTimeout(): void {
    if (this.state === 'settled') return this.cancel();
    const { phase, limit } = this.#expired();
    // A call that still waits for a connection says nothing about the endpoint.
    if (phase === 'answer' && this.attempt?.hasConnection) this.endpoint?.breaker.failed(this.owner);
    this.fail(failures.timedOut(this.facts(), phase, limit));
  }

  #expired(): { phase: failures.Phase; limit: number } {
    const attempt = this.attempt;
    if (attempt?.isStream) {
      const isWhole = this.deadline === attempt.streamDeadline;
      if (isWhole) return { phase: 'whole stream', limit: this.timeoutOf('streamTimeout') };
      return { phase: 'stream', limit: this.timeoutOf('streamIdleTimeout') };
    }
    const isWaitingForToken = attempt === undefined || (attempt.isSettled && this.repeats?.timer === undefined);
    return { phase: isWaitingForToken ? 'token' : 'answer', limit: this.timeoutOf('timeout') };
  }

  protected settle(state: 'response' | 'done' | 'error' | 'cancelled', error?: unknown): void {
    const isFirst = this.state !== 'settled';
    if (this.attempt?.hadNonFinite && isFirst) this.warn(NON_FINITE);
    this.state = 'settled';
    clearTimeout(this.repeats?.timer);
    this.config.deadlines.delete(this);
    if (isFirst) this.trace?.finish(state, error);
  }

  /** The listener has the last event. The rest of the answer is read for a limited time, to reuse the connection. */
  protected drain(attempt: Attempt): void {
    this.isPaused = false;
    attempt.drain();
    this.deadline = performance.now() + DRAIN_TIMEOUT_MS;
    this.config.deadlines.add(this);
    this.config.deadlines.note(this.deadline);
  }

  protected fail(error: unknown): void {
    if (this.state === 'settled') return;
    if (this.state === 'starting') return queueMicrotask(() => this.fail(error));
    if (error instanceof Error && this.attempt?.wasWritten !== true) markNeverSent(error);
    this.settle('error', error);
    this.attempt?.abort(error instanceof Error ? error : new Error(String(error)));
    try {
      this.listener.onError(error);
    } catch (err) {
      this.#log(err, 'a listener threw in onError');
    }
  }

  /** Runs what a callback of undici, a timer or a promise does. What it throws ends this call, and no other. */
  protected run(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.onFault(error);
    }
  }

  /** A fault of this side, or a listener that throws. @internal */
  onFault(err: unknown): void {
    if (this.state === 'settled') return this.#log(err, 'a listener threw at the end of its call');
    this.fail(new InternalError('The call could not be processed', this.facts(err)));
  }

  #log(err: unknown, message: string): void {
    const { targetAgent: agentId, method, traceId } = this.request;
    this.config.log.error({ err, agentId, method, traceId }, message);
  }

  protected warn(message: string): void {
    this.config.log.warnOnce(this.endpoint?.address ?? '', { agentId: this.request.targetAgent }, message);
  }
}
