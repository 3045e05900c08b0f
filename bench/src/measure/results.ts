import type { HostKind } from '../hosts/kinds.js';
import type { Family, Workload } from '../workloads/types.js';
import { median, type Spread, spreadOf } from './stats.js';

/** What one round took. */
export interface Sample {
  /** Microseconds of the host's CPU, user and system, for a unit. */
  cpu: number;
  perSecond: number;
  p50: number;
  p99: number;
}

/** A workload on one host, over all rounds. */
export interface Row {
  family: string;
  workload: string;
  unit: string;
  x: number;
  host: HostKind;
  rounds: number;
  /** Microseconds a unit. */
  cpu: Spread;
  /** CPU as a multiple of the floor's of the same round. */
  ratio?: Spread | undefined;
  goal?: number | undefined;
  /** CPU as a multiple of that of the family's first workload in the same round. */
  growth?: Spread | undefined;
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  /** Bytes of the host's process, when the family was done. */
  rss: number;
  /** Connections from the host to its agents, then. */
  upstream: number;
}

/** Bytes of a process before a long stream, and the most while it ran. */
export interface Peak {
  workload: string;
  host: HostKind;
  before: number;
  peak: number;
}

/** Bytes of a process for each idle connection. */
export interface IdleRow {
  host: HostKind;
  connections: number;
  rounds: number;
  /** Of connections that never said anything, and of those that had one message answered. */
  fresh: Spread;
  used: Spread;
  /** What V8's heap has in use of the former. */
  heap: Spread;
  /** The same as multiples of the framework's bare echo socket. */
  freshRatio?: Spread | undefined;
  usedRatio?: Spread | undefined;
  heapRatio?: Spread | undefined;
  goal?: number | undefined;
}

/** Collects the samples of a family, and sums them up. */
export class Samples {
  readonly #family: Family;
  readonly #samples = new Map<string, Sample[]>();

  constructor(family: Family) {
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

  row(workload: Workload, host: HostKind, goal: number | undefined, now: { rss: number; upstream: number }): Row {
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
      ratio: host === 'floor' ? undefined : ratioOf(own, this.of(workload, 'floor')),
      goal,
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

/** How the samples of one compare with those of the other, round by round. */
export function ratioOf(own: readonly Sample[], other: readonly Sample[]): Spread | undefined {
  const ratios = own.flatMap(({ cpu }, round) => {
    const base = other[round]?.cpu;
    return base === undefined || base === 0 ? [] : [cpu / base];
  });
  return ratios.length === 0 ? undefined : spreadOf(ratios);
}
