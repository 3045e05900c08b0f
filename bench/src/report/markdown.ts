import type { IdleRow, Peak, Row } from '../measure/results.js';
import type { Family } from '../workloads/types.js';
import { kibibytes, mebibytes, number, ratio, spread, verdict } from './format.js';
import type { Machine } from './machine.js';

export interface Report {
  machine: Machine;
  command: string;
  rows: Row[];
  peaks: Peak[];
  idle: IdleRow[];
}

/** The whole report. `plots` are the files of the plots, by family. */
export function writeMarkdown(report: Report, families: readonly Family[], plots: ReadonlyMap<string, string>): string {
  const sections = families.map((family) => writeFamily(report, family, plots.get(family.name)));
  return [writeHead(report), ...sections, writeIdle(report.idle, plots.get('idle'))]
    .filter((section) => section !== '')
    .join('\n\n')
    .concat('\n');
}

function writeHead({ machine, command }: Report): string {
  const { date, cpu, cores, memory, system, node, load, versions } = machine;
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    '# Benchmark results',
    '',
    `\`${command}\`, ${date}. ${cpu}, ${cores} cores, ${memory}, ${system}, Node ${node}; load before the run ${load.toFixed(1)}.`,
    `${list.join(', ')}.`,
    '',
    'CPU is the user and system time of the host’s process, in µs for one unit. Spreads are the median and, in brackets,',
    'the quartiles of all rounds. Compare the ratios, which are to the baseline of the same round, not the absolute figures.',
  ].join('\n');
}

function writeFamily(
  { rows, peaks }: Report,
  { name, title, about, growsBy, baseline = 'floor' }: Family,
  plot: string | undefined,
): string {
  const own = rows.filter(({ family }) => family === name);
  if (own.length === 0) return '';
  const [first] = own;
  const head = [
    'workload',
    'host',
    `CPU µs / ${first?.unit}`,
    `× ${baseline}`,
    'goal',
    `${first?.unit}s/s`,
    'p50 ms',
    'p99 ms',
  ];
  const hasPlain = own.some(({ plainRatio }) => plainRatio !== undefined);
  if (hasPlain) head.splice(5, 0, '× plain', 'goal');
  head.push('RSS MiB', 'upstream', ...(growsBy === undefined ? [] : ['× the first']), 'command');
  const workloads = [...new Set(own.map(({ workload }) => workload))];
  const body = workloads.flatMap((workload) =>
    own
      .filter((row) => row.workload === workload)
      .map((row) => [
        workload,
        row.host,
        spread(row.cpu),
        ratio(row.ratio),
        verdict(row.ratio?.median, row.goal),
        ...(hasPlain ? [ratio(row.plainRatio), verdict(row.plainRatio?.median, row.plainGoal)] : []),
        number(row.perSecond),
        number(row.p50),
        number(row.p99),
        mebibytes(row.rss),
        String(row.upstream),
        ...(growsBy === undefined ? [] : [ratio(row.growth)]),
        commandFor(workload),
      ]),
  );
  return [
    `## ${title}`,
    '',
    about,
    ...(plot === undefined ? [] : ['', `![${title}](${plot})`]),
    '',
    table(head, body),
    ...writePeaks(peaks.filter(({ workload }) => workloads.includes(workload))),
  ].join('\n');
}

function writePeaks(peaks: readonly Peak[]): string[] {
  if (peaks.length === 0) return [];
  const body = peaks.map(({ workload, host, before, peak }) => [
    workload,
    host,
    mebibytes(before),
    mebibytes(peak),
    commandFor(workload),
  ]);
  return ['', table(['workload', 'host', 'RSS before, MiB', 'maximum RSS during it, MiB', 'command'], body)];
}

function writeIdle(rows: readonly IdleRow[], plot: string | undefined): string {
  if (rows.length === 0) return '';
  const head = [
    'host',
    'fresh: KiB',
    '× echo',
    'goal',
    'V8 heap: KiB',
    '× echo',
    'after one message: KiB',
    '× echo',
    'command',
  ];
  const body = rows.map((row) => [
    row.host,
    spread(row.fresh, kibibytes),
    ratio(row.freshRatio),
    verdict(row.freshRatio?.median, row.goal),
    spread(row.heap, kibibytes),
    ratio(row.heapRatio),
    spread(row.used, kibibytes),
    ratio(row.usedRatio),
    commandFor('idle'),
  ]);
  return [
    '## Idle connections',
    '',
    `RSS of one of ${number(rows[0]?.connections ?? 0)} connections in a new process: unused, and after one message and its answer, compared with`,
    'the echo socket of the same framework (for the core: of ws; for `resume`: the core). The used V8 heap of an unused connection is much smaller, because RSS',
    'includes the memory that V8 reserves for new objects, and the memory of Node and the system.',
    ...(plot === undefined ? [] : ['', `![Idle connections](${plot})`]),
    '',
    table(head, body),
    ...rows.flatMap(writeResumable),
  ].join('\n');
}

/** Bytes that an idle resumable session may add. */
const RESUMABLE_GOAL = 1024;

function writeResumable({ more, detached }: IdleRow): string[] {
  if (more === undefined || detached === undefined) return [];
  const goal = verdict(more.median / 1024, RESUMABLE_GOAL / 1024);
  return [
    '',
    `A resumable session adds ${spread(more, kibibytes)} KiB of V8 heap to an idle connection (${goal}). Without its connection, after one`,
    `message, a session takes ${spread(detached, kibibytes)} KiB of V8 heap.`,
  ];
}

/** The command that measures this workload alone. */
function commandFor(workload: string): string {
  return `\`npm run bench -- --only ${workload}\``;
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, column) => (column < 2 ? '---' : '---:'))), ...body.map(line)].join('\n');
}
