import type * as Prometheus from 'prom-client';
import type { SendSummary, Session } from '../api.js';
import type { RelayStats } from './stats-types.js';

/** Upper bounds of the histograms, in seconds. Agents answer in seconds or minutes; sessions last for minutes or hours. */
const SEND_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const SESSION_SECONDS = [1, 10, 60, 300, 900, 3600, 14_400, 43_200, 86_400];

interface Reading {
  readonly value: number;
  readonly labels?: Record<string, string>;
}

/** How a counter or gauge is read from the statistics. */
interface Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: 'Counter' | 'Gauge';
  readonly label?: string;
  read(stats: RelayStats): Reading[];
}

const one = (value: number): Reading[] => [{ value }];
const each = (label: string, values: Readonly<Record<string, number>>): Reading[] =>
  Object.entries(values).map(([name, value]) => ({ value, labels: { [label]: name } }));

/** Counts endpoints by the state of their breaker. No label has an address: an endpoint function may produce any number. */
function countBreakers({ breakers }: RelayStats): Record<string, number> {
  const counts = { closed: 0, open: 0, 'half-open': 0 };
  for (const { state } of breakers) counts[state] += 1;
  return counts;
}

const METRICS: readonly Metric[] = [
  {
    name: 'arc_relay_sessions',
    help: 'Sessions whose chats are not all ended',
    kind: 'Gauge',
    read: ({ sessions }) => one(sessions),
  },
  {
    name: 'arc_relay_sessions_detached',
    help: 'Sessions without a connection, which wait to be resumed',
    kind: 'Gauge',
    read: ({ detached }) => one(detached),
  },
  {
    name: 'arc_relay_journal_bytes',
    help: 'Bytes of frames that resumable sessions keep until they are acknowledged',
    kind: 'Gauge',
    read: ({ journalBytes }) => one(journalBytes),
  },
  { name: 'arc_relay_threads', help: 'Threads of all sessions', kind: 'Gauge', read: ({ threads }) => one(threads) },
  {
    name: 'arc_relay_sends_pending',
    help: 'Sends that run or wait',
    kind: 'Gauge',
    read: ({ pending }) => one(pending),
  },
  {
    name: 'arc_relay_sends_waiting',
    help: 'Sends that wait for another send of their thread',
    kind: 'Gauge',
    read: ({ waiting }) => one(waiting),
  },
  {
    name: 'arc_relay_endpoints',
    help: 'Endpoints by the state of their circuit breaker. Endpoints that do not fail may be missing',
    kind: 'Gauge',
    label: 'breaker',
    read: (stats) => each('breaker', countBreakers(stats)),
  },
  {
    name: 'arc_relay_sends_total',
    help: 'Sends that ended, by their terminal frame',
    kind: 'Counter',
    label: 'state',
    read: ({ sends }) => each('state', sends),
  },
  {
    name: 'arc_relay_sends_interrupted_total',
    help: 'Sends that were pending when a session without a connection ended',
    kind: 'Counter',
    read: ({ interrupted }) => one(interrupted),
  },
  {
    name: 'arc_relay_chats_started_total',
    help: 'chat.start requests',
    kind: 'Counter',
    read: ({ started }) => one(started),
  },
  {
    name: 'arc_relay_chats_restarted_total',
    help: 'chat.start requests that replaced a lost chat',
    kind: 'Counter',
    read: ({ restarted }) => one(restarted),
  },
  {
    name: 'arc_relay_chats_ended_total',
    help: 'Chats that were ended',
    kind: 'Counter',
    read: ({ ended }) => one(ended),
  },
  {
    name: 'arc_relay_chats_unconfirmed_total',
    help: 'Chats whose start was interrupted and that the agent did not have when they were to be ended',
    kind: 'Counter',
    read: ({ unconfirmed }) => one(unconfirmed),
  },
  {
    name: 'arc_relay_chats_orphaned_total',
    help: 'Chats that could not be ended',
    kind: 'Counter',
    read: ({ orphans }) => one(orphans),
  },
  {
    name: 'arc_relay_chat_end_failures_total',
    help: 'chat.end requests that failed, retries included',
    kind: 'Counter',
    read: ({ failedEnds }) => one(failedEnds),
  },
  {
    name: 'arc_relay_sessions_resumed_total',
    help: 'Sessions that continued on a new connection',
    kind: 'Counter',
    read: ({ resumed }) => one(resumed),
  },
  {
    name: 'arc_relay_connections_refused_total',
    help: 'Connections that were refused, by reason',
    kind: 'Counter',
    label: 'reason',
    read: ({ refused }) => each('reason', refused),
  },
  {
    name: 'arc_relay_frames_rejected_total',
    help: 'Frames of clients that were answered with an error, and for which nothing was sent to an agent, by reason',
    kind: 'Counter',
    label: 'reason',
    read: ({ rejected }) => each('reason', rejected),
  },
  {
    name: 'arc_relay_received_bytes_total',
    help: 'Bytes from clients, framing included',
    kind: 'Counter',
    read: ({ bytes }) => one(bytes.received),
  },
  {
    name: 'arc_relay_sent_bytes_total',
    help: 'Bytes to clients, framing included',
    kind: 'Counter',
    read: ({ bytes }) => one(bytes.sent),
  },
];

/** Those of a relay that is a node of a cluster. */
const CLUSTER_METRICS: readonly Metric[] = [
  {
    name: 'arc_relay_cluster_up',
    help: '1 if the node is in its cluster, 0 if its store is away or refuses writes',
    kind: 'Gauge',
    read: ({ cluster }) => one(cluster?.state === 'ok' ? 1 : 0),
  },
  {
    name: 'arc_relay_cluster_sessions',
    help: 'Sessions of this node in the store of the cluster',
    kind: 'Gauge',
    read: ({ cluster }) => one(cluster?.sessions ?? 0),
  },
  {
    name: 'arc_relay_cluster_reaped_total',
    help: 'Sessions of dead nodes whose chats this node has ended',
    kind: 'Counter',
    read: ({ cluster }) => one(cluster?.reaped ?? 0),
  },
];

async function loadPrometheus(): Promise<typeof Prometheus> {
  try {
    return await import('prom-client');
  } catch (cause) {
    throw new Error('relay.metrics() needs the package prom-client, which is not installed', { cause });
  }
}

/** The metrics of a relay in the text format of Prometheus. Durations are recorded from its creation on. */
export class RelayMetrics {
  readonly #registry: Prometheus.Registry;
  readonly #sendDuration: Prometheus.Histogram<'state'>;
  readonly #firstPiece: Prometheus.Histogram;
  readonly #sessionDuration: Prometheus.Histogram;
  readonly #openedAt = new WeakMap<Session, number>();
  readonly #since = performance.now();
  readonly #readStats: () => RelayStats;
  /** Read once for all metrics of a text: it takes time in proportion to the number of sessions. */
  #stats: RelayStats;

  private constructor({ Registry, Histogram, Counter, Gauge }: typeof Prometheus, readStats: () => RelayStats) {
    this.#readStats = readStats;
    this.#stats = readStats();
    this.#registry = new Registry();
    const registers = [this.#registry];
    const kinds = { Counter, Gauge };
    const stats = (): RelayStats => this.#stats;
    const metrics = stats().cluster === undefined ? METRICS : [...METRICS, ...CLUSTER_METRICS];
    for (const { name, help, kind, label, read } of metrics) {
      new kinds[kind]({
        ...{ name, help, registers },
        labelNames: label === undefined ? [] : [label],
        collect() {
          this.reset();
          for (const { value, labels } of read(stats())) this.inc(labels ?? {}, value);
        },
      });
    }
    this.#sendDuration = new Histogram({
      name: 'arc_relay_send_duration_seconds',
      help: 'From the message frame to its terminal frame',
      labelNames: ['state'],
      buckets: SEND_SECONDS,
      registers,
    });
    this.#firstPiece = new Histogram({
      name: 'arc_relay_time_to_first_piece_seconds',
      help: 'From the message frame to the first frame of its answer',
      buckets: SEND_SECONDS,
      registers,
    });
    this.#sessionDuration = new Histogram({
      name: 'arc_relay_session_duration_seconds',
      help: 'From the admission of a session to the end of its chats',
      buckets: SESSION_SECONDS,
      registers,
    });
  }

  /** @throws Error if prom-client is not installed */
  static async create(stats: () => RelayStats): Promise<RelayMetrics> {
    return new RelayMetrics(await loadPrometheus(), stats);
  }

  sessionOpened(session: Session): void {
    this.#openedAt.set(session, performance.now());
  }

  sessionClosed(session: Session): void {
    const openedAt = this.#openedAt.get(session);
    if (openedAt !== undefined) this.#sessionDuration.observe((performance.now() - openedAt) / 1000);
  }

  sendEnded({ state, duration, timeToFirstPiece }: SendSummary): void {
    // No clock was read for a send that began before.
    if (duration > performance.now() - this.#since) return;
    this.#sendDuration.observe({ state }, duration / 1000);
    if (timeToFirstPiece !== undefined) this.#firstPiece.observe(timeToFirstPiece / 1000);
  }

  text(): Promise<string> {
    this.#stats = this.#readStats();
    return this.#registry.metrics();
  }
}
