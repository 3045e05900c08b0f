import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { answerFaults } from './answer-faults.js';
import { type Cell, type Outcome, run } from './cell.js';
import { connectionFaults } from './connection-faults.js';
import { cellsOf, type Row, render } from './matrix.js';
import { readerFaults } from './reader-faults.js';

const FILE = new URL('MATRIX.md', import.meta.url);
/** Only faults whose name has that in it; the file is not compared then. */
const ONLY = process.env.FAULTS ?? '';

t.setTimeout(150_000);

const faults = [...connectionFaults, ...answerFaults, ...readerFaults].filter(({ name }) => name.includes(ONLY));
const rows: Row[] = [...cellsOf(faults)].map((place) => {
  const cell = place.fault[place.when](place.kind);
  return { ...place, how: typeof cell === 'string' ? cell : cell.how, outcome: undefined };
});

/** What has to come of a cell. */
function expected(cell: Cell, row: Row): Outcome {
  const { told, requests, aborted, lost } = cell;
  const again = lost ? '–' : row.kind === 'JSON' ? 'response' : 'done';
  return { told, requests, aborted, open: 0, unended: 0, other: lost ? '–' : 'response', again };
}

/** Runs cells side by side, and tests each. */
async function runAll(t: Test, from: Row[], width: number): Promise<void> {
  const left = [...from];
  const worker = async (): Promise<void> => {
    for (let row = left.shift(); row !== undefined; row = left.shift()) {
      const cell = row.fault[row.when](row.kind) as Cell;
      const name = `${row.fault.name}, ${row.when}, ${row.kind}: ${row.how}`;
      try {
        row.outcome = await run(row.kind, cell);
        t.strictSame(row.outcome, expected(cell, row), name);
      } catch (error) {
        t.fail(name, { error });
      }
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

/** Whether every cell has come to its end: what went wrong is not written down. */
const isWhole = (): boolean => rows.every((row) => !isCell(row) || row.outcome !== undefined);
const isCell = (row: Row): boolean => typeof row.fault[row.when](row.kind) !== 'string';
const isSlow = (row: Row): boolean => {
  const { stalls, lost } = row.fault[row.when](row.kind) as Cell;
  return (stalls ?? lost) === true;
};
const isHeavy = ({ fault }: Row): boolean => ['100 MB body', 'endless event', 'slow reader'].includes(fault.name);

t.test('each fault costs the send that meets it, and nothing else', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && !isHeavy(row) && !isSlow(row)),
    16,
  );
});

// They only wait, so that all can do so at the same time.
t.test('so does each fault that only time tells of', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && !isHeavy(row) && isSlow(row)),
    32,
  );
});

t.test('so does each fault that takes megabytes', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && isHeavy(row)),
    2,
  );
});

t.test('the fault matrix is what was written down', { skip: ONLY !== '' }, async (t) => {
  const text = render(rows);
  if (process.env.CI !== 'true' && isWhole()) writeFileSync(FILE, text);
  t.equal(text, readFileSync(FILE, 'utf8'), 'a run where CI is not true writes it anew');
});
