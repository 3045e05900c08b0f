import type { HostKind } from '../hosts/kinds.js';
import type { Outcome } from '../load/outcome.js';
import type { Host, Stage } from '../measure/stage.js';

/** Something that is done to every host, again and again, while its CPU is counted. */
export interface Workload {
  readonly name: string;
  /** What one unit is. */
  readonly unit: string;
  /** What is varied in its family, for plots and for growth. */
  readonly x: number;
  /** Units in each of what a batch counts: the events of a stream, for example. */
  readonly unitsEach: number;
  /** So many batches make a round; the hosts take turns after each. */
  readonly slices: number;
  /** CPU, as a multiple of the floor's, that is not to be exceeded. */
  readonly goals?: Goals | undefined;
  /** Once, before the first batch. */
  open?(stage: Stage, host: Host): Promise<void>;
  /** Before each batch, and not counted. */
  prepare?(stage: Stage, host: Host): Promise<void>;
  batch(stage: Stage, host: Host): Promise<Outcome>;
}

export interface Goals {
  core: number;
  adapters: number;
}

/** Workloads that share their processes, and stand in one table. */
export interface Family {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  /** What `x` counts, where it grows on purpose: the cost is then held against that of the first workload. */
  readonly growsBy?: string | undefined;
  readonly hosts: readonly HostKind[];
  /** Servers of agents for each host. */
  readonly servers: number;
  readonly workloads: readonly Workload[];
  /** Runs one more batch of the last workload, and tells how high memory went. */
  readonly watchesMemory?: boolean;
}

export function goalOf(goals: Goals | undefined, kind: HostKind): number | undefined {
  if (goals === undefined || kind === 'floor' || kind === 'plain') return undefined;
  return kind === 'core' ? goals.core : goals.adapters;
}
