// Runs mixed traffic with faults for some minutes, and measures the relay's memory: `npm run soak -- MINUTES`, which is
// `node --import @tapjs/typescript/import soak/soak.ts MINUTES`. SOAK_SEED=… repeats the same traffic.
import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '@arc/test-client';
import { startTestAgent } from '@arc/thread-core/testing';
import { RelayProcess } from '../faults/child.js';
import { draw, type Point, verdict } from './plot.js';
import { type Tally, traffic } from './traffic.js';

const MINUTES = Math.min(Number(process.argv[2] ?? 5), 24 * 60);
const SEED = Number(process.env.SOAK_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CLIENTS = 8;
const MB = 1024 * 1024;
const PLOT = new URL('soak.svg', import.meta.url);

if (!(MINUTES > 0)) throw new TypeError('soak: the number of minutes is missing');

const agent = await startTestAgent();
const relay = await RelayProcess.start(agent.endpoint, {
  sendTimeout: 1000,
  streamIdleTimeout: 1000,
  cleanupTimeout: 3000,
});
const tally: Tally = { sends: 0, faults: 0, dropped: 0, told: {}, broken: [] };
const points: Point[] = [];
const began = performance.now();
const minutes = (): number => (performance.now() - began) / 60_000;
let stopped = false;
const stop = (): void => {
  stopped = true;
};
process.once('SIGINT', stop).once('SIGTERM', stop);
const isDone = (): boolean => stopped || minutes() >= MINUTES || tally.broken.length > 10;

async function measure(): Promise<void> {
  const { heap, sessions, threads, pending, failed, errors } = await relay.report();
  points.push({ minute: minutes(), heap: heap / MB });
  for (const error of errors) tally.broken.push(error);
  const is = `${sessions} sessions, ${threads} threads, ${pending} sends, ${failed} chats not ended`;
  console.log(`minute ${minutes().toFixed(1)}: heap ${(heap / MB).toFixed(2)} MB; ${is}`);
  writeFileSync(PLOT, draw(points));
}

/** The requests of chats that are still open. */
function openChats(): string[] {
  const open = [...agent.chats.values()].filter(({ status }) => status === 'ACTIVE');
  return open.map(({ chatId }) => {
    const its = agent.requests.filter((request) => request.chatId === chatId);
    const words = its.map(
      ({ at, method, traceId, aborted }) => `${at} ${method} ${traceId}${aborted ? ' aborted' : ''}`,
    );
    return `open: ${chatId}, ${words.join(', ')}`;
  });
}

function progress(): void {
  const { started, ended, open } = agent.counters;
  const told = Object.entries(tally.told).map(([type, times]) => `${type} ${times}`);
  const chats = `${started} chats started, ${ended} ended, ${open} open`;
  console.log(
    `  ${tally.sends} sends, ${tally.faults} with a fault (${told.join(', ')}); ${tally.dropped} drops; ${chats}`,
  );
}

console.log(`${MINUTES} minutes of ${CLIENTS} clients, seed ${SEED}`);
await measure();
const running = Array.from({ length: CLIENTS }, (_, at) =>
  traffic(relay.url, agent, new Random(SEED + at), tally, isDone),
);
const watching = (async () => {
  for (let next = 1; !isDone(); ) {
    await delay(Math.min(5000, Math.max(MINUTES - minutes(), 0) * 60_000));
    progress();
    if (minutes() >= next) {
      await measure();
      next += 1;
    }
  }
})();
await Promise.all([...running, watching]);
progress();
const isEnded = (): boolean => agent.counters.open === 0;
await agent
  .waitFor(isEnded, { timeout: 10_000 })
  .catch(({ message }: Error) => tally.broken.push(message, ...openChats()));
await relay.settled();
await measure();
const code = await relay.stop();
await agent.close();
const { isFlat, text } = verdict(points);
console.log(`${text}; ${PLOT.pathname}`);
for (const problem of tally.broken) console.error(problem);
process.exitCode = isFlat && tally.broken.length === 0 && code === 0 ? 0 : 1;
