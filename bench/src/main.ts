import { ECHO } from './hosts/kinds.js';
import { measureIdle } from './measure/idle.js';
import { type IdleRow, type Peak, type Row, ratioOf, type Samples } from './measure/results.js';
import { runFamily } from './measure/rounds.js';
import { readOptions } from './options.js';
import { killChildren } from './process/child.js';
import { profileFamily } from './profiling.js';
import { kibibytes } from './report/format.js';
import { describeMachine } from './report/machine.js';
import { RESULTS, writeReport } from './report/write.js';
import { families, fewerHosts } from './workloads/families.js';
import type { Family, Workload } from './workloads/types.js';

const args = process.argv.slice(2);
const options = readOptions(args);

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    killChildren();
    process.exit(130);
  });
}
process.on('exit', killChildren);

/** The requested families and workloads. */
function selectedFamilies(): Family[] {
  return families(options.hosts, options.quick)
    .map((family) => {
      if (options.isWanted(family.name)) return family;
      return { ...family, workloads: family.workloads.filter(({ name }) => options.isWanted(name)) };
    })
    .filter(({ workloads }) => workloads.length > 0);
}

/** Prints one line: the CPU of the baseline, and the ratios of the others. */
function printRound(workload: Workload, round: number, samples: Samples): void {
  const { name, unit } = workload;
  if (round === 0) return console.log(`${name}  warm-up`);
  const { baseline } = samples;
  const base = samples.of(workload, baseline).slice(-1);
  const others = options.hosts.flatMap((host) => {
    const ratio = host === baseline ? undefined : ratioOf(samples.of(workload, host).slice(-1), base);
    return ratio === undefined ? [] : [`${host} ${ratio.median.toFixed(2)} ×`];
  });
  const cpu = `${baseline} ${base[0]?.cpu.toFixed(1)} µs / ${unit}`;
  console.log(`${name}  ${round}/${options.rounds}  ${cpu}  ${others.join('  ')}`);
}

async function main(): Promise<void> {
  const machine = describeMachine();
  const chosen = selectedFamilies();
  const rows: Row[] = [];
  const peaks: Peak[] = [];
  let idle: IdleRow[] = [];
  for (const family of chosen) {
    console.log(`\n${family.title}`);
    const result = await runFamily(family, {
      rounds: options.rounds,
      budget: options.quick ? 12_000 : 600_000,
      onRound: printRound,
      after: options.prof ? (stage, rows) => profileFamily(family, stage, rows) : undefined,
    });
    rows.push(...result.rows);
    peaks.push(...result.peaks);
  }
  if (options.isWanted('idle')) {
    console.log('\nIdle connections');
    idle = await measureIdle({
      hosts: fewerHosts(options.hosts, options.quick).filter((host) => host in ECHO),
      rounds: options.quick ? 1 : Math.min(5, options.rounds),
      connections: options.quick ? 2000 : 5000,
      onRound: (host, round, { fresh, used }) =>
        console.log(`idle  ${round}  ${host}: ${kibibytes(fresh)} KiB, ${kibibytes(used)} KiB after one message`),
    });
  }
  if (rows.length === 0 && idle.length === 0) throw new Error('--only: no workload has this name');
  const command = ['npm run bench', ...(args.length === 0 ? [] : ['--', ...args])].join(' ');
  const markdown = writeReport(options.name, { machine, command, rows, peaks, idle }, chosen);
  console.log(`\n${markdown}\nWritten to ${RESULTS}${options.name}.md`);
}

await main();
