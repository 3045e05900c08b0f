import { tracingChannel } from 'node:diagnostics_channel';
import type { CallContext, SendContext, SessionContext } from '@arc/thread-core';
import { diag, type MeterProvider, metrics, type Tracer, type TracerProvider, trace } from '@opentelemetry/api';
import { Metrics } from './metrics.js';
import { Spans } from './spans.js';
import { VERSION } from './version.js';

const NAME = '@arc/thread-otel';

/** Options of `ArcInstrumentation`. */
export interface ArcInstrumentationConfig {
  /** Whether it subscribes when it is created. Default true. */
  enabled?: boolean;
  /**
   * Whether `traceparent`, `tracestate` and `baggage` of a client's frame are the parent of its spans. Set it to false if
   * clients are strangers who should not choose trace ids, sampling and baggage. Default true.
   */
  clientContext?: boolean | undefined;
}

type Subscribers<Context> = Parameters<ReturnType<typeof tracingChannel<Context, object>>['subscribe']>[0];

/** Node ends the process if a subscriber throws, as a processor, a sampler or a propagator of the application may. */
function guarded<Context>(on: (context: Context) => void): (context: object) => void {
  return (context) => {
    try {
      on(context as Context);
    } catch (error) {
      diag.error(`${NAME}: a span or a metric is lost`, error);
    }
  };
}

/** Names all events of a tracing channel: those that are not given do nothing. */
function subscribe<Context extends object>(
  name: string,
  on: { start: (context: Context) => void; asyncEnd: (context: Context) => void },
): () => void {
  const nothing = (): void => {};
  const channel = tracingChannel<Context, object>(name);
  const subscribers = {
    start: guarded(on.start),
    end: nothing,
    asyncStart: nothing,
    asyncEnd: guarded(on.asyncEnd),
    error: nothing,
  } as Subscribers<Context>;
  channel.subscribe(subscribers);
  return () => void channel.unsubscribe(subscribers);
}

/**
 * Traces and measures all relays, ThreadManagers and ArcClients of the process. It has the interface of OpenTelemetry's
 * instrumentations: pass it to `NodeSDK` or `registerInstrumentations`, or use it alone.
 */
export class ArcInstrumentation {
  readonly instrumentationName = NAME;
  readonly instrumentationVersion = VERSION;
  readonly #spans: Spans;
  readonly #metrics: Metrics;
  #config: ArcInstrumentationConfig;
  #tracer: Tracer;
  #unsubscribe: (() => void)[] | undefined;

  constructor(config: ArcInstrumentationConfig = {}) {
    this.#config = config;
    this.#spans = new Spans(() => this.#config.clientContext !== false);
    this.#tracer = trace.getTracer(NAME, VERSION);
    this.#metrics = new Metrics(metrics.getMeter(NAME, VERSION));
    if (config.enabled !== false) this.enable();
  }

  /** Subscribes to the tracing channels. */
  enable(): void {
    if (this.#unsubscribe !== undefined) return;
    this.#spans.undici.enable();
    this.#unsubscribe = [
      subscribe<SendContext>('arc.send', {
        // The metrics first: what throws is more likely to be the application's, and they call nothing of it.
        start: (send) => {
          this.#metrics.startSend(send);
          this.#spans.startSend(this.#tracer, send);
        },
        asyncEnd: (send) => {
          this.#metrics.endSend(send);
          this.#spans.endSend(send);
        },
      }),
      subscribe<CallContext>('arc.call', {
        start: (call) => this.#spans.startCall(this.#tracer, call),
        asyncEnd: (call) => this.#spans.endCall(call),
      }),
      subscribe<SessionContext>('arc.session', {
        start: (session) => this.#metrics.startSession(session),
        asyncEnd: (session) => this.#metrics.endSession(session),
      }),
      () => this.#spans.undici.disable(),
    ];
  }

  /** Unsubscribes. Call it when nothing runs: spans that are open are never ended. */
  disable(): void {
    for (const unsubscribe of this.#unsubscribe ?? []) unsubscribe();
    this.#unsubscribe = undefined;
  }

  /** Spans that start from now on are of this provider. Default: the global one. */
  setTracerProvider(provider: TracerProvider): void {
    this.#tracer = provider.getTracer(NAME, VERSION);
  }

  /** What is measured from now on goes to this provider. Default: the global one, as it is when this is created. */
  setMeterProvider(provider: MeterProvider): void {
    this.#metrics.use(provider.getMeter(NAME, VERSION));
  }

  /** The options that hold now. */
  getConfig(): ArcInstrumentationConfig {
    return this.#config;
  }

  /** Replaces the options. `enabled` has no effect any more: call `enable` or `disable`. */
  setConfig(config: ArcInstrumentationConfig): void {
    this.#config = config;
  }
}
