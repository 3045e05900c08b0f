// 300 random schedules, or as many as MODEL_RUNS says; 10,000: `MODEL_RUNS=10000 npx tap model/model.test.ts`.
// A schedule that fails is printed with its seed and path; MODEL_SEED=… MODEL_PATH=… plays it again, and looks for a
// shorter one that fails, too.
import t from 'tap';
import { broken } from './promises.js';
import { type Schedule, schedules } from './schedule.js';
import { readRuns, runSchedules } from './schedule-runs.js';
import { Play } from './world.js';

const { runs, seed, path } = readRuns(300);

t.setTimeout(120_000 + runs * 1000);

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));

/** So few run their steps at the same time that no chat is created too late to be ended within the bound. */
const STAGES = 2;
let free = STAGES;
const queue: (() => void)[] = [];

async function onStage(act: () => Promise<void>): Promise<void> {
  if (free > 0) free -= 1;
  else await new Promise<void>((resolve) => queue.push(resolve));
  try {
    await act();
  } finally {
    const next = queue.shift();
    if (next === undefined) free += 1;
    else next();
  }
}

async function play(schedule: Schedule): Promise<void> {
  const play = await Play.create(schedule);
  try {
    await onStage(() => play.run());
    await play.leave();
    const problems = [...broken(play), ...unhandled.map((reason) => `an unhandled rejection: ${reason}`)];
    if (problems.length > 0) throw new Error(problems.join('\n'));
  } finally {
    await play.close();
  }
}

t.test(`every send ends once, in order, and every chat is ended, in ${runs} random schedules`, async (t) => {
  const reports = await runSchedules({ schedules, play, runs, seed, path, batches: 25 });
  for (const { passed, name, details } of reports) t.ok(passed, name, details ?? {});
});
