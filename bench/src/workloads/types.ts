import type { HostKind } from '../hosts/kinds.js';
import type { Outcome } from '../load/outcome.js';
import type { Host, Stage } from '../measure/stage.js';

/** Work that every host does repeatedly while its CPU is measured. */
export interface Workload {
  readonly name: string;
  /** Name of one unit. */
  readonly unit: string;
  /** The value that varies in its family, for plots and growth. */
  readonly x: number;
  /** Number of units in each item that a batch counts, such as the events of a stream. */
  readonly unitsEach: number;
  /** Number of batches in a round. The hosts take turns after each. */
  readonly slices: number;
  /** Upper limits of the CPU, as ratios. */
  readonly goals?: Goals | undefined;
  /** Runs once, before the first batch. */
  open?(stage: Stage, host: Host): Promise<void>;
  /** Runs before each batch, and is not measured. */
  prepare?(stage: Stage, host: Host): Promise<void>;
  batch(stage: Stage, host: Host): Promise<Outcome>;
}

export interface Goals {
  /** Ratio of `core` to the floor. */
  core?: number;
  /** Ratio of an adapter to the floor. */
  adapters?: number;
  /** Ratio of `core` and the adapters to `plain`. Default: no goal. */
  plain?: number;
  /** Ratios of other hosts to the family's baseline. */
  hosts?: Partial<Record<HostKind, number>>;
}

/** Workloads that share their processes and one table. */
export interface Family {
  readonly name: string;
  readonly title: string;
  readonly about: string;
  /** What `x` counts, if the family measures growth: costs are then compared with those of the first workload. */
  readonly growsBy?: string | undefined;
  readonly hosts: readonly HostKind[];
  /** The host that the others are compared with. Default: `floor`. */
  readonly baseline?: HostKind;
  /**
   * Number of processes of each host, one after the other: two processes of the same build differ by some per cent.
   * Every second time the hosts start in reverse order. Default: 1.
   */
  readonly processes?: number | undefined;
  /** Number of agent servers for each host. */
  readonly servers: number;
  readonly workloads: readonly Workload[];
  /** Whether to run one more batch of the last workload and report the maximum memory. */
  readonly watchesMemory?: boolean;
}

/** Whether others are compared with this host. */
export function isBaseline(kind: HostKind): boolean {
  return kind === 'floor' || kind === 'plain';
}

/** The goal of a host's ratio to the baseline. */
export function goalOf(goals: Goals | undefined, kind: HostKind): number | undefined {
  if (goals === undefined || isBaseline(kind)) return undefined;
  return goals.hosts?.[kind] ?? (kind === 'core' ? goals.core : goals.adapters);
}
