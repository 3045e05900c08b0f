import type { Outcome } from '../load/outcome.js';
import type { Family, Workload } from '../workloads/types.js';
import { type Peak, type Row, type Sample, Samples } from './results.js';
import { type Host, type Stage, startStage } from './stage.js';
import { median } from './stats.js';

export interface FamilyResult {
  rows: Row[];
  peaks: Peak[];
}

export interface RoundOptions {
  rounds: number;
  /** Time in ms after which no further round begins, once a round was measured. */
  budget: number;
  /** Called after every round of every workload. */
  onRound(workload: Workload, round: number, samples: Samples): void;
  /** Called with the stage when the rounds are over. */
  after?: ((stage: Stage, rows: readonly Row[]) => Promise<void>) | undefined;
}

/**
 * Runs a family. In each round the hosts take several turns at every workload, in an order that rotates, so that other
 * activity of the machine affects all hosts alike. The first round of each set of processes is a warm-up and is not counted.
 */
export async function runFamily(family: Family, options: RoundOptions): Promise<FamilyResult> {
  const { rounds, budget, after } = options;
  const samples = new Samples(family);
  const until = performance.now() + budget;
  const sets = Math.min(family.processes ?? 1, rounds);
  let measured = 0;
  for (let set = 1; ; set += 1) {
    // A host that starts later than another of the same build costs two or three per cent more.
    const hosts = set % 2 === 1 ? family.hosts : family.hosts.toReversed();
    await using stage = await startStage(hosts, family.servers);
    const last = Math.ceil((rounds * set) / sets);
    await runRound(family, stage, 0, options, samples);
    while (measured < last && (measured === 0 || performance.now() < until)) {
      measured += 1;
      await runRound(family, stage, measured, options, samples);
    }
    if (set < sets && performance.now() < until) continue;
    const rows = await summarize(family, stage, samples);
    const peaks = family.watchesMemory ? await watchMemory(family, stage) : [];
    await after?.(stage, rows);
    return { rows, peaks };
  }
}

/** Round 0 is the warm-up. */
async function runRound(
  { workloads }: Family,
  stage: Stage,
  round: number,
  { onRound }: RoundOptions,
  samples: Samples,
): Promise<void> {
  for (const workload of workloads) {
    if (round === 0) for (const host of stage.hosts) await workload.open?.(stage, host);
    const batches = new Map<Host, Batch[]>(stage.hosts.map((host) => [host, []]));
    for (let slice = 0; slice < workload.slices; slice += 1) {
      for (const host of rotated(stage.hosts, round + slice)) {
        batches.get(host)?.push(await measure(workload, stage, host));
      }
    }
    if (round > 0) for (const [host, all] of batches) samples.add(workload, host.kind, sampleOf(workload, all));
    onRound(workload, round, samples);
  }
}

/** A batch, and its CPU time in µs. */
interface Batch extends Outcome {
  cpu: number;
}

async function measure(workload: Workload, stage: Stage, host: Host): Promise<Batch> {
  await workload.prepare?.(stage, host);
  const before = await host.process.call('cpu');
  const outcome = await workload.batch(stage, host);
  return { ...outcome, cpu: (await host.process.call('cpu')) - before };
}

function sampleOf({ unitsEach }: Workload, batches: readonly Batch[]): Sample {
  const sum = (of: 'cpu' | 'count' | 'elapsed'): number => batches.reduce((all, batch) => all + batch[of], 0);
  const units = sum('count') * unitsEach;
  return {
    cpu: sum('cpu') / units,
    perSecond: (units / sum('elapsed')) * 1000,
    p50: median(batches.map(({ p50 }) => p50)),
    p99: median(batches.map(({ p99 }) => p99)),
  };
}

async function summarize(family: Family, stage: Stage, samples: Samples): Promise<Row[]> {
  const rows: Row[] = [];
  const inOrder = family.hosts.flatMap((kind) => stage.hosts.filter((host) => host.kind === kind));
  for (const host of inOrder) {
    const connections = await Promise.all(host.agents.map((port) => stage.agent.call('connections', port)));
    const now = {
      rss: await host.process.call('rss', true),
      upstream: connections.reduce((sum, count) => sum + count, 0),
    };
    for (const workload of family.workloads) {
      rows.push(samples.row(workload, host.kind, now));
    }
  }
  return rows;
}

async function watchMemory(family: Family, stage: Stage): Promise<Peak[]> {
  const workload = family.workloads.at(-1);
  if (workload === undefined) return [];
  const peaks: Peak[] = [];
  for (const host of stage.hosts) {
    const before = await host.process.call('rss', true);
    await host.process.call('watchPeak');
    await workload.batch(stage, host);
    peaks.push({ workload: workload.name, host: host.kind, before, peak: await host.process.call('peak') });
  }
  return peaks;
}

function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const first = by % Math.max(1, items.length);
  return [...items.slice(first), ...items.slice(0, first)];
}
