// 300 random schedules, or as many as MODEL_RUNS says; 10,000: `MODEL_RUNS=10000 npx tap model/model.test.ts`.
// A schedule that fails is printed with its seed and path; MODEL_SEED=… MODEL_PATH=… plays it again, and looks for a
// shorter one that fails, too.
import fc from 'fast-check';
import t from 'tap';
import { broken } from './promises.js';
import { type Schedule, schedules } from './schedule.js';
import { Play } from './world.js';

const RUNS = Number(process.env.MODEL_RUNS ?? 300);
const SEED = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31));
const PATH = process.env.MODEL_PATH;
/** Plays side by side: most of the time a play waits. */
const LANES = PATH === undefined ? Math.min(RUNS, 25) : 1;

t.setTimeout(120_000 + RUNS * 1000);

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));

/** A schedule, a step a line. */
function spell(schedule: Schedule | undefined): string[] {
  const { steps = [], ...agents } = schedule ?? {};
  return [agents, ...steps].map((step) => JSON.stringify(step));
}

/** So few run their steps at the same time: a chat that comes too late to be ended within the bound is nobody's fault. */
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

t.test(`every send ends once, in order, and every chat is ended, in ${RUNS} random schedules`, async (t) => {
  const lanes = Array.from({ length: LANES }, async (_, lane) => {
    const numRuns = PATH === undefined ? Math.ceil(RUNS / LANES) : 1;
    const path = PATH === undefined ? { endOnFailure: true } : { path: PATH };
    // A machine that is too slow shall say so, before it is stopped.
    const limit = { interruptAfterTimeLimit: 60_000 + numRuns * 4000, markInterruptAsFailure: true };
    const details = await fc.check(fc.asyncProperty(schedules, play), {
      seed: SEED + lane,
      numRuns,
      ...path,
      ...limit,
    });
    if (!details.failed) return t.pass(`${details.numRuns} schedules of seed ${details.seed}`);
    const { seed, counterexamplePath, counterexample, errorInstance, interrupted, numRuns: ran } = details;
    if (interrupted && counterexample === null)
      return t.fail(`only ${ran} of ${numRuns} schedules of seed ${seed} in time`);
    return t.fail(`MODEL_SEED=${seed} MODEL_PATH=${counterexamplePath}`, {
      problem: String(errorInstance),
      schedule: spell(counterexample?.[0]),
    });
  });
  await Promise.all(lanes);
});
