import { CloseCode } from '@arc/thread-protocol';
import { invokeHook } from '../../hooks.js';
import type { Logger } from '../../logger.js';
import type { ChatOutcome } from '../../threads/ending.js';
import type { ThreadEntry } from '../../threads/store.js';
import type { RelayHooks, SendStart, SendSummary, Session, SpokenTurn } from '../api.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import { RelayMetrics } from './metrics.js';
import { describeRejection } from './rejection.js';
import { SessionTraces } from './session-trace.js';
import type { Counters, RelayStats } from './stats-types.js';

/** The only place that updates counters, hooks, metrics and the tracing channel `arc.session`. */
export class Telemetry {
  readonly counters: Counters = {
    sends: { response: 0, done: 0, error: 0, cancelled: 0 },
    started: 0,
    restarted: 0,
    ended: 0,
    unconfirmed: 0,
    failedEnds: 0,
    orphans: 0,
    resumed: 0,
    interrupted: 0,
    rejected: { invalid: 0, forbidden: 0, limit: 0, failed: 0 },
  };
  readonly #hooks: RelayHooks;
  readonly #logger: Logger;
  readonly #traces = new SessionTraces();
  /** Records durations, once somebody has asked for metrics. */
  #metrics: RelayMetrics | undefined;
  #creating: Promise<RelayMetrics> | undefined;

  constructor(hooks: RelayHooks, logger: Logger) {
    this.#hooks = hooks;
    this.#logger = logger;
  }

  /**
   * The metrics in the text format of Prometheus. Durations are recorded from the first call on.
   * @throws Error if prom-client is not installed
   */
  async metricsText(stats: () => RelayStats): Promise<string> {
    this.#creating ??= RelayMetrics.create(stats);
    try {
      this.#metrics = await this.#creating;
    } catch (error) {
      this.#creating = undefined;
      throw error;
    }
    return this.#metrics.text();
  }

  /** Whether anybody wants a summary of each send. Without it none is made, and no clock is read. */
  get wantsSends(): boolean {
    return this.#hooks.onSend !== undefined || this.#metrics !== undefined;
  }

  sessionOpened(session: Session): void {
    this.#traces.opened(session);
    this.#metrics?.sessionOpened(session);
    this.#invoke('onOpen', session);
  }

  /** A session of another node continues here, where it is measured from now on. `onResume` follows with its client. */
  sessionRestored(session: Session): void {
    this.#traces.opened(session);
    this.#metrics?.sessionOpened(session);
  }

  /** The relay itself failed, and closes the session. */
  sessionFailed(session: Session, error: unknown): void {
    this.#traces.failed(session, error);
  }

  sessionClosed(session: Session, outcomes: ChatOutcome[]): void {
    this.#traces.closed(session, outcomes);
    this.#metrics?.sessionClosed(session);
    this.#invoke('onClose', session, outcomes);
  }

  /** `err`: what the socket failed with. */
  connectionClosed(session: string, code: number, err: unknown): void {
    const about = { session, err, code };
    if (err !== undefined) this.#logger.warn(about, 'a connection failed');
    else if (code === CloseCode.Abnormal) this.#logger.info(about, 'a connection was lost');
    else this.#logger.debug(about, 'a connection was closed');
  }

  sessionDetached(session: Session): void {
    this.#invoke('onDetach', session);
  }

  sessionResumed(session: Session): void {
    this.counters.resumed += 1;
    this.#traces.resumed(session);
    this.#invoke('onResume', session);
  }

  /** Sends were pending when their session ended without a connection. */
  sendsInterrupted(count: number): void {
    this.counters.interrupted += count;
  }

  frameRejected(session: Session, error: unknown, frame: FrameEcho): void {
    const rejection = describeRejection(error, frame);
    this.counters.rejected[rejection.reason] += 1;
    this.#invoke('onReject', session, rejection);
  }

  sendStarted(session: Session, send: SendStart): void {
    this.#invoke('onSendStart', session, send);
  }

  /** `summarize` is called only if somebody listens. */
  sendEnded(session: Session, state: SendSummary['state'], summarize: () => SendSummary): void {
    this.counters.sends[state] += 1;
    this.#traces.sendEnded(session);
    if (!this.wantsSends) return;
    const summary = summarize();
    this.#metrics?.sendEnded(summary);
    this.#invoke('onSend', session, summary);
  }

  /** Whether anybody wants to know what is said. */
  get wantsTurns(): boolean {
    return this.#hooks.onTurn !== undefined;
  }

  turnEnded(session: Session, turn: SpokenTurn): void {
    this.#invoke('onTurn', session, turn);
  }

  chatStarted(session: Session, thread: ThreadEntry): void {
    this.counters.started += 1;
    this.#invoke('onStart', session, thread);
  }

  chatRestarted(session: Session, thread: ThreadEntry): void {
    this.counters.restarted += 1;
    this.#invoke('onRestart', session, thread);
  }

  chatEnded(session: Session, outcome: ChatOutcome): void {
    this.counters[outcome.unconfirmed ? 'unconfirmed' : outcome.ok ? 'ended' : 'orphans'] += 1;
    this.counters.failedEnds += outcome.failures;
    this.#invoke('onEnd', session, outcome);
  }

  #invoke(name: Exclude<keyof RelayHooks, 'onRefuse'>, session: Session, subject?: unknown): void {
    if (this.#hooks[name] === undefined) return;
    invokeHook(
      () => (this.#hooks[name] as (session: Session, subject: unknown) => unknown)(session, subject),
      (err) => {
        this.#logger.error({ session: session.id, err }, `the hook ${name} threw`);
      },
    );
  }
}
