// 40 schedules, random ones outside of CI, or as many as MODEL_RUNS says; 10,000: `MODEL_RUNS=10000 npx tap model/resume.test.ts`.
// A schedule that fails is printed with its seed and path; MODEL_SEED=… MODEL_PATH=… plays it again, and looks for a
// shorter one that fails, too. With MODEL_SILENCE=1 connections also fall silent, which costs seconds each time: clients
// wait for an answer to their ping.
import t from 'tap';
import { type ResumeSchedule, resumeSchedules } from './resume-schedule.js';
import { ResumePlay } from './resume-world.js';
import { readRuns, runSchedules } from './schedule-runs.js';

const { runs, seed, path } = readRuns(40, 163_054_550);
const silences = Number(process.env.MODEL_SILENCE ?? 0);

t.setTimeout(120_000 + runs * 1000);

const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => unhandled.push(reason));

async function play(schedule: ResumeSchedule): Promise<void> {
  const found = await ResumePlay.play(schedule);
  const problems = [...found, ...unhandled.map((reason) => `an unhandled rejection: ${reason}`)];
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

t.test(
  `with a connection that is lost in every way, nothing is lost or doubled, in ${runs} schedules from seed ${seed}`,
  async (t) => {
    const reports = await runSchedules({ schedules: resumeSchedules(silences), play, runs, seed, path, batches: 10 });
    for (const { passed, name, details } of reports) t.ok(passed, name, details ?? {});
  },
);
