import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { answerFaults } from './answer-faults.js';
import { type Cell, type Outcome, run } from './cell.js';
import { connectionFaults } from './connection-faults.js';
import { cellsOf, type Row, render } from './matrix.js';
import { readerFaults } from './reader-faults.js';

const FILE = new URL('MATRIX.md', import.meta.url);
/** Selects faults by a part of their name. The file is not compared then. */
const ONLY = process.env.FAULTS ?? '';

t.setTimeout(150_000);

const faults = [...connectionFaults, ...answerFaults, ...readerFaults].filter(({ name }) => name.includes(ONLY));
const rows: Row[] = [...cellsOf(faults)].map((place) => {
  const cell = place.fault[place.when](place.kind);
  return { ...place, how: typeof cell === 'string' ? cell : cell.how, outcome: undefined };
});

/** The expected outcome of a cell. */
function expected(cell: Cell, row: Row): Outcome {
  const { told, requests, aborted, lost } = cell;
  const again = lost ? '–' : row.kind === 'JSON' ? 'response' : 'done';
  return { told, requests, aborted, open: 0, unended: 0, other: lost ? '–' : 'response', again };
}

/** Runs cells concurrently, and tests each. */
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

/** Whether every cell has an outcome. An incomplete matrix is not written. */
const isComplete = (): boolean => rows.every((row) => !isCell(row) || row.outcome !== undefined);
const isCell = (row: Row): boolean => typeof row.fault[row.when](row.kind) !== 'string';
const isSlow = (row: Row): boolean => {
  const { stalls, lost } = row.fault[row.when](row.kind) as Cell;
  return (stalls ?? lost) === true;
};
const isHeavy = ({ fault }: Row): boolean => ['100 MB body', 'endless event', 'slow reader'].includes(fault.name);

t.test('a fault ends the send that meets it, and nothing else', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && !isHeavy(row) && !isSlow(row)),
    16,
  );
});

// These mostly wait, so all of them can run at the same time.
t.test('a fault that only a timeout reveals ends its send, and nothing else', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && !isHeavy(row) && isSlow(row)),
    32,
  );
});

t.test('a fault of many megabytes ends its send, and nothing else', async (t) => {
  await runAll(
    t,
    rows.filter((row) => isCell(row) && isHeavy(row)),
    2,
  );
});

t.test('MATRIX.md is up to date', { skip: ONLY !== '' }, async (t) => {
  const text = render(rows);
  if (process.env.CI !== 'true' && isComplete()) writeFileSync(FILE, text);
  t.equal(text, readFileSync(FILE, 'utf8'), 'a run without CI=true rewrites it');
});
