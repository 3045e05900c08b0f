import type { SendContext, SessionContext } from '@arc/thread-core';
import type { Histogram, Meter, UpDownCounter } from '@opentelemetry/api';
import { boundedErrorTypeOf } from './errors.js';
import { Attribute, INVOKE_AGENT, Metric, PROVIDER } from './names.js';

/** Seconds, as the conventions demand them for the duration of an operation. */
const OPERATION_BUCKETS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const SESSION_BUCKETS = [1, 10, 60, 300, 900, 3600, 14_400, 43_200, 86_400];

/** The same for all sends. Agents and chats may be chosen by clients: a metric of each would have no bound. */
const OPERATION = { [Attribute.OperationName]: INVOKE_AGENT, [Attribute.ProviderName]: PROVIDER };

/** The instruments, and the times that they need. */
export class Metrics {
  #invocationDuration!: Histogram;
  #operationDuration!: Histogram;
  #timeToFirstChunk!: Histogram;
  #activeSessions!: UpDownCounter;
  #sessionDuration!: Histogram;
  /** By what the tracing channels publish: when it started. */
  readonly #startedAt = new WeakMap<object, number>();

  constructor(meter: Meter) {
    this.use(meter);
  }

  use(meter: Meter): void {
    const duration = {
      description: 'From the message to the last byte of its answer',
      unit: 's',
      advice: { explicitBucketBoundaries: OPERATION_BUCKETS },
    };
    this.#invocationDuration = meter.createHistogram(Metric.InvocationDuration, duration);
    this.#operationDuration = meter.createHistogram(Metric.OperationDuration, duration);
    this.#timeToFirstChunk = meter.createHistogram(Metric.TimeToFirstChunk, {
      description: 'From the message to the first chunk of a streamed answer',
      unit: 's',
      advice: { explicitBucketBoundaries: OPERATION_BUCKETS },
    });
    this.#activeSessions = meter.createUpDownCounter(Metric.ActiveSessions, {
      description: 'Sessions whose chats are not all ended',
      unit: '{session}',
    });
    this.#sessionDuration = meter.createHistogram(Metric.SessionDuration, {
      description: 'From the admission of a session to the end of its chats',
      unit: 's',
      advice: { explicitBucketBoundaries: SESSION_BUCKETS },
    });
  }

  startSend(send: SendContext): void {
    this.#startedAt.set(send, performance.now());
  }

  endSend(send: SendContext): void {
    const startedAt = this.#startedAt.get(send);
    if (startedAt === undefined) return;
    const { state, error, firstPieceAt } = send;
    const failure = state === 'error' ? { [Attribute.ErrorType]: boundedErrorTypeOf(error) } : {};
    const seconds = (performance.now() - startedAt) / 1000;
    const attributes = { ...OPERATION, ...failure };
    this.#invocationDuration.record(seconds, attributes);
    this.#operationDuration.record(seconds, attributes);
    if (firstPieceAt !== undefined) this.#timeToFirstChunk.record((firstPieceAt - startedAt) / 1000, OPERATION);
  }

  startSession(session: SessionContext): void {
    this.#startedAt.set(session, performance.now());
    this.#activeSessions.add(1);
  }

  endSession(session: SessionContext): void {
    const startedAt = this.#startedAt.get(session);
    if (startedAt === undefined) return;
    this.#activeSessions.add(-1);
    this.#sessionDuration.record((performance.now() - startedAt) / 1000);
  }
}
