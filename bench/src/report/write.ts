import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Family } from '../workloads/types.js';
import { type Report, writeMarkdown } from './markdown.js';
import { plotFamily, plotIdle } from './plots.js';

/** `bench/results`. */
export const RESULTS = fileURLToPath(new URL('../../results/', import.meta.url));

/** Writes the report as `NAME.md` and `NAME.json`, and its plots beside them. Returns the Markdown. */
export function writeReport(name: string, report: Report, families: readonly Family[]): string {
  mkdirSync(RESULTS, { recursive: true });
  const plots = new Map<string, string>();
  const keep = (plot: string, svg: string | undefined): void => {
    if (svg === undefined) return;
    plots.set(plot, `${name}-${plot}.svg`);
    writeFileSync(`${RESULTS}${name}-${plot}.svg`, svg);
  };
  for (const family of families) keep(family.name, plotFamily(family, report.rows));
  keep('idle', plotIdle(report.idle));
  const markdown = writeMarkdown(report, families, plots);
  writeFileSync(`${RESULTS}${name}.md`, markdown);
  writeFileSync(`${RESULTS}${name}.json`, `${JSON.stringify(report, null, 2)}\n`);
  return markdown;
}
