// Plays the one schedule in its first argument, and writes what the checker finds.
import type { ResumeSchedule } from './resume-schedule.js';
import { ResumePlay } from './resume-world.js';

const problems = await ResumePlay.play(JSON.parse(process.argv[2] ?? '') as ResumeSchedule);
process.stdout.write(problems.join('\n'));
// A build that is broken may leave anything behind.
process.exit();
