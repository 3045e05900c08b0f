// The checker must complain of builds without a part that resuming needs, and not of the intact build.
import t from 'tap';
import { type Breakage, brokenBuild, runProgram } from '../history/breakage.js';
import type { ResumeSchedule, ResumeStep } from './resume-schedule.js';

function send(pieces: number, held: boolean): ResumeStep {
  const thread = { client: 0, agent: 0, context: 0 };
  return { step: 'send', ...thread, stream: true, pieces, size: 0, held, slow: false };
}

const PASS: ResumeStep = { step: 'pass', turns: 60 };

const builds: { without: string; breakage: Breakage; steps: ResumeStep[]; complaint: RegExp }[] = [
  {
    without: "the count of the client's frames",
    breakage: { file: '/thread-core/dist/relay/resume/resumption.js', find: 'this.#count.add(bytes);', replace: '' },
    // The message is sent again while the agent still works on it.
    steps: [send(4, true), PASS, { step: 'cut', client: 0 }, { step: 'pass', turns: 2000 }],
    complaint: /id: is that of a pending send/,
  },
  {
    without: 'the takeover of a session that has a connection',
    breakage: {
      file: '/thread-core/dist/relay/resume/resuming.js',
      find: 'const found = host.resumables?.find(frame.session, key);',
      replace: `let found = host.resumables?.find(frame.session, key);
        if (found?.connection !== undefined) found = 'unknown';`,
    },
    steps: [send(4, true), PASS, { step: 'black hole', client: 0 }],
    complaint: /failed: SessionLostError/,
  },
  {
    without: 'the replay before what is live',
    breakage: {
      file: '/thread-core/dist/relay/resume/resumption.js',
      find: 'for (const frame of this.journal.frames())',
      replace: `const kept = this.journal.frames();
        setTimeout(() => kept.forEach((frame) => connection.write(frame)), 50);
        for (const frame of [])`,
    },
    steps: [send(2000, false), PASS, { step: 'cut', client: 0 }, PASS],
    complaint: /frame \d+ after frame \d+/,
  },
];

const program = new URL('play-schedule.ts', import.meta.url);

for (const { without, breakage, steps, complaint } of builds) {
  t.test(`the checker complains of a build without ${without}`, async (t) => {
    const schedule: ResumeSchedule = { busy: 'queue', grace: 60_000, maxBufferedBytes: 1_048_576, steps };
    const args = [JSON.stringify(schedule)];
    const env = { MODEL_WAIT_LIMIT_MS: '1000' };
    const [intact, broken] = await Promise.all([
      runProgram(program, args, brokenBuild(undefined)),
      runProgram(program, args, { ...brokenBuild(breakage), ...env }),
    ]);
    t.equal(intact, '');
    t.match(broken, complaint);
  });
}
