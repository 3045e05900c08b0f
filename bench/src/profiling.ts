import { mkdirSync } from 'node:fs';
import type { Row } from './measure/results.js';
import type { Host, Stage } from './measure/stage.js';
import { RESULTS } from './report/write.js';
import type { Family, Workload } from './workloads/types.js';

/** Duration of a profile in ms. It contains at least one batch. */
const LENGTH = 3000;
const SHOWN = 25;

/** Profiles every host with every workload of a family. The rounds are over, so all code is warm. */
export async function profileFamily(family: Family, stage: Stage, rows: readonly Row[]): Promise<void> {
  mkdirSync(RESULTS, { recursive: true });
  for (const workload of family.workloads) {
    for (const host of stage.hosts) {
      await host.process.call('startProfile');
      await runFor(LENGTH, workload, stage, host);
      const file = `${RESULTS}${workload.name}-${host.kind}.cpuprofile`;
      const functions = await host.process.call('stopProfile', file);
      const cpu =
        rows.find((row) => row.workload === workload.name && row.host === host.kind)?.cpu.median ?? Number.NaN;
      console.log(`\n${workload.name} ${host.kind}: ${cpu.toFixed(2)} µs / ${workload.unit}, in ${file}`);
      for (const { name, share } of functions.slice(0, SHOWN)) {
        // The profiler slows the process down, and its clock runs while other processes have the CPU. So its shares are
        // applied to the CPU time that was measured without it.
        console.log(`${(share * cpu).toFixed(3).padStart(10)} µs ${(share * 100).toFixed(1).padStart(5)} %  ${name}`);
      }
    }
  }
}

async function runFor(length: number, workload: Workload, stage: Stage, host: Host): Promise<void> {
  const until = performance.now() + length;
  do {
    await workload.prepare?.(stage, host);
    await workload.batch(stage, host);
  } while (performance.now() < until);
}
