import type { HostKind } from '../hosts/kinds.js';
import { type Family, goalOf, isBaseline, type Workload } from '../workloads/types.js';
import { median, type Spread, spreadOf } from './stats.js';

/** The measurements of one round. */
export interface Sample {
  /** CPU of the host for one unit, user and system, in µs. */
  cpu: number;
  perSecond: number;
  p50: number;
  p99: number;
}

/** The measurements of a workload on one host, over all rounds. */
export interface Row {
  family: string;
  workload: string;
  unit: string;
  x: number;
  host: HostKind;
  rounds: number;
  /** µs for one unit. */
  cpu: Spread;
  /** CPU as a multiple of the baseline's in the same round. */
  ratio?: Spread | undefined;
  goal?: number | undefined;
  /** CPU as a multiple of that of `plain` in the same round. */
  plainRatio?: Spread | undefined;
  plainGoal?: number | undefined;
  /** CPU as a multiple of that of the family's first workload in the same round. */
  growth?: Spread | undefined;
  perSecond: number;
  /** In ms. */
  p50: number;
  p99: number;
  /** Resident memory of the host in bytes, at the end of the family. */
  rss: number;
  /** Number of connections from the host to its agents, at the end of the family. */
  upstream: number;
}

/** Resident memory of a process before a long stream, and its maximum during the stream, in bytes. */
export interface Peak {
  workload: string;
  host: HostKind;
  before: number;
  peak: number;
}

/** Memory of one idle connection, in bytes. */
export interface IdleRow {
  host: HostKind;
  connections: number;
  rounds: number;
  /** RSS of unused connections, and of connections after one message. */
  fresh: Spread;
  used: Spread;
  /** Used V8 heap of unused connections. */
  heap: Spread;
  /** The same as multiples of the framework's echo socket. */
  freshRatio?: Spread | undefined;
  usedRatio?: Spread | undefined;
  heapRatio?: Spread | undefined;
  /** Of resumable sessions: V8 heap beyond that of the core's, and V8 heap without a connection. */
  more?: Spread;
  detached?: Spread;
  goal?: number | undefined;
}

/** Collects the samples of a family, and summarizes them. */
export class Samples {
  readonly #family: Family;
  readonly #samples = new Map<string, Sample[]>();

  /** The host that the others are compared with. */
  readonly baseline: HostKind;

  constructor(family: Family) {
    this.baseline = family.baseline ?? 'floor';
    this.#family = family;
  }

  add(workload: Workload, host: HostKind, sample: Sample): void {
    const samples = this.of(workload, host);
    samples.push(sample);
    this.#samples.set(`${workload.name} ${host}`, samples);
  }

  of(workload: Workload, host: HostKind): Sample[] {
    return this.#samples.get(`${workload.name} ${host}`) ?? [];
  }

  row(workload: Workload, host: HostKind, now: { rss: number; upstream: number }): Row {
    const { name: family, growsBy, workloads } = this.#family;
    const own = this.of(workload, host);
    const [first] = workloads;
    return {
      family,
      workload: workload.name,
      unit: workload.unit,
      x: workload.x,
      host,
      rounds: own.length,
      cpu: spreadOf(own.map(({ cpu }) => cpu)),
      ratio: host === this.baseline ? undefined : ratioOf(own, this.of(workload, this.baseline)),
      goal: host === this.baseline ? undefined : goalOf(workload.goals, host),
      plainRatio: isBaseline(host) || this.baseline !== 'floor' ? undefined : ratioOf(own, this.of(workload, 'plain')),
      plainGoal: isBaseline(host) ? undefined : workload.goals?.plain,
      growth:
        growsBy === undefined || first === undefined || first === workload
          ? undefined
          : ratioOf(own, this.of(first, host)),
      perSecond: median(own.map(({ perSecond }) => perSecond)),
      p50: median(own.map(({ p50 }) => p50)),
      p99: median(own.map(({ p99 }) => p99)),
      ...now,
    };
  }
}

/** The ratio of two hosts' CPU, round by round. */
export function ratioOf(own: readonly Sample[], other: readonly Sample[]): Spread | undefined {
  const ratios = own.flatMap(({ cpu }, round) => {
    const base = other[round]?.cpu;
    return base === undefined || base === 0 ? [] : [cpu / base];
  });
  return ratios.length === 0 ? undefined : spreadOf(ratios);
}
