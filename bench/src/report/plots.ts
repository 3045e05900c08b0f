import type { IdleRow, Row } from '../measure/results.js';
import type { Family } from '../workloads/types.js';
import { barPlot, type Group } from './svg.js';

/** The plot of a family: CPU as a multiple of the floor's, or for a growth family the CPU itself. */
export function plotFamily(
  { name, title, growsBy, workloads, baseline = 'floor' }: Family,
  rows: readonly Row[],
): string | undefined {
  const own = rows.filter(({ family }) => family === name);
  if (own.length === 0) return undefined;
  const isGrowth = growsBy !== undefined;
  const groups = workloads.map((workload): Group => {
    const bars = own
      .filter((row) => row.workload === workload.name)
      .map(({ host, cpu, ratio }) => {
        const one = { median: 1, low: 1, high: 1 };
        const { median: value, low, high } = isGrowth ? cpu : host === baseline ? one : (ratio ?? one);
        return { label: host, value, low, high };
      });
    return { label: isGrowth ? workload.x.toLocaleString('en') : workload.name, bars };
  });
  const unit = isGrowth ? `CPU µs / ${own[0]?.unit}, by ${growsBy}` : `CPU / ${own[0]?.unit}, × ${baseline}`;
  return barPlot(title, unit, groups);
}

export function plotIdle(rows: readonly IdleRow[]): string | undefined {
  if (rows.length === 0) return undefined;
  const group = (label: string, of: 'fresh' | 'used'): Group => ({
    label,
    bars: rows.map((row) => ({
      label: row.host,
      value: row[of].median / 1024,
      low: row[of].low / 1024,
      high: row[of].high / 1024,
    })),
  });
  return barPlot('Idle connections', 'RSS, KiB / connection', [
    group('fresh', 'fresh'),
    group('after one message', 'used'),
  ]);
}
