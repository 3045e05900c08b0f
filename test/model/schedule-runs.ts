import fc from 'fast-check';

export interface Runs<Schedule> {
  schedules: fc.Arbitrary<Schedule>;
  play(schedule: Schedule): Promise<void>;
  runs: number;
  /** The seed of the first batch; the others follow it. */
  seed: number;
  /** Plays the one schedule of a run before that failed, and looks for a shorter one. */
  path: string | undefined;
  /** Plays side by side: most of the time a play waits. */
  batches: number;
}

/** The environment variables that say which schedules to play. `ciSeed`: so that CI plays the same ones each time. */
export function readRuns(
  defaultRuns: number,
  ciSeed?: number,
): { runs: number; seed: number; path: string | undefined } {
  const random = Math.floor(Math.random() * 2 ** 31);
  const defaultSeed = process.env.CI === 'true' ? (ciSeed ?? random) : random;
  const { MODEL_RUNS = defaultRuns, MODEL_SEED = defaultSeed, MODEL_PATH } = process.env;
  return { runs: Number(MODEL_RUNS), seed: Number(MODEL_SEED), path: MODEL_PATH };
}

/** What a test reports of a run: the command that replays it, and what was wrong. */
export interface BatchReport {
  passed: boolean;
  name: string;
  details?: { problem: string; schedule: string[] };
}

/** Plays random schedules, in several batches at a time. */
export function runSchedules<Schedule>(options: Runs<Schedule>): Promise<BatchReport[]> {
  const { runs, path } = options;
  const count = path === undefined ? Math.min(runs, options.batches) : 1;
  return Promise.all(Array.from({ length: count }, (_, batch) => runBatch(options, batch, Math.ceil(runs / count))));
}

async function runBatch<Schedule>(
  { schedules, play, seed: first, path }: Runs<Schedule>,
  batch: number,
  runs: number,
): Promise<BatchReport> {
  const numRuns = path === undefined ? runs : 1;
  const outcome = await fc.check(fc.asyncProperty(schedules, play), {
    seed: first + batch,
    numRuns,
    ...(path === undefined ? { endOnFailure: true } : { path }),
    // A machine that is too slow shall say so, before it is stopped.
    interruptAfterTimeLimit: 60_000 + numRuns * 4000,
    markInterruptAsFailure: true,
  });
  const { failed, seed, counterexamplePath, counterexample, errorInstance, interrupted, numRuns: ran } = outcome;
  if (!failed) return { passed: true, name: `${ran} schedules of seed ${seed}` };
  if (interrupted && counterexample === null)
    return { passed: false, name: `only ${ran} of ${numRuns} schedules of seed ${seed} in time` };
  return {
    passed: false,
    name: `MODEL_SEED=${seed} MODEL_PATH=${counterexamplePath}`,
    details: { problem: String(errorInstance), schedule: spell(counterexample?.[0]) },
  };
}

/** A schedule, a step a line. */
function spell(schedule: unknown): string[] {
  const { steps = [], ...rest } = (schedule ?? {}) as { steps?: unknown[] };
  return [rest, ...steps].map((step) => JSON.stringify(step));
}
