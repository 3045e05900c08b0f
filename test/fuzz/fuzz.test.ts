// FUZZ_SEED=… plays a run again that has failed; the seed is in the names of the tests.
// `npm run test:faults` plays longer runs.

import { Random } from '@arc/test-client';
import { startTestAgent } from '@arc/thread-core/testing';
import t, { type Test } from 'tap';
import { RelayProcess, type Report } from '../faults/child.js';
import { isLast, RecordingClient, to, withDeadline } from '../faults/world.js';
import { frame, isAnswered } from './frames.js';
import { startFuzzAgent } from './fuzz-agent.js';

const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
const FRAMES = Number(process.env.FUZZ_FRAMES ?? 50_000);
const ANSWERS = Number(process.env.FUZZ_ANSWERS ?? 10_000);
const MB = 1024 * 1024;

t.setTimeout(300_000);

/** The relay is as it was at first: nothing went wrong in it, nothing is left, and it holds no more memory. */
function sound(t: Test, first: Report, last: Report): void {
  const { sessions, threads, pending, errors } = last;
  t.strictSame(
    { sessions, threads, pending, errors },
    { sessions: 0, threads: 0, pending: 0, errors: [] },
    'nothing is left',
  );
  const heaps = [first, last].map(({ heap }) => `${(heap / MB).toFixed(1)} MB`);
  t.ok(last.heap < first.heap + 4 * MB, `the heap does not grow: ${heaps.join(', then ')}`);
}

t.test(`each of ${FRAMES} mutated frames is answered once (seed ${SEED})`, async (t) => {
  const agent = await startTestAgent();
  const relay = await RelayProcess.start(agent.endpoint, { maxBadFrames: 1e9, cleanupTimeout: 10_000, throwing: 1 });
  t.teardown(() => {
    relay.kill();
    return agent.close();
  });
  const BATCH = 500;
  let next = 0;
  const worker = async (end: number): Promise<void> => {
    while (next < end) {
      const seed = SEED + next;
      next += BATCH;
      await batch(relay, new Random(seed), BATCH).catch((error: Error) => {
        throw new Error(`${error.message}, with seed ${seed}`);
      });
    }
  };
  const all = (end: number): Promise<unknown> => Promise.all(Array.from({ length: 4 }, () => worker(end)));
  // What the first fifth leaves is no leak: code that was compiled, connections and buffers that are kept.
  await all(FRAMES / 5);
  const first = await relay.settled();
  await all(FRAMES);
  const last = await relay.settled();
  await agent.waitFor(({ counters }) => counters.open === 0);
  sound(t, first, last);
  t.equal(await relay.stop(), 0, 'the relay exits by itself');
});

/** Sends frames over one socket, and waits for as many answers; then ends the connection in some way. */
async function batch(relay: RelayProcess, random: Random, count: number): Promise<void> {
  const client = await RecordingClient.open(relay.url);
  const frames = Array.from({ length: count }, (_, at) => frame(random, `f${at}`));
  const expected = frames.filter(isAnswered).length;
  let answers = 0;
  let all!: () => void;
  const answered = new Promise<void>((resolve) => (all = resolve));
  client.onFrame = (frame) => {
    if (isLast(frame) && ++answers === expected) all();
  };
  for (const text of frames) client.socket.send(text);
  await withDeadline(answered, () => `${expected} answers; there were ${answers}`, 60_000);
  await client.exchange({ type: 'ping', id: 'over' });
  if (answers !== expected + 1) throw new Error(`${answers - 1} answers to ${expected} frames`);
  const { socket } = client;
  const how = random.below(6);
  if (how === 0) socket.send(random.bytes(50));
  else if (how === 1) socket.send('x'.repeat(1024 * 1024 + 1));
  else if (how === 2) socket.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false });
  else if (how === 3)
    (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(random.bytes(60));
  if (how > 3 || how === 3) socket.terminate();
  const { code } = await withDeadline(client.closed, 'the connection to be closed');
  const codes: Record<number, number> = { 0: 1003, 1: 1009, 2: 1007 };
  if (how < 3 && code !== codes[how]) throw new Error(`closed with ${code} instead of ${codes[how]}`);
}

t.test(`each of ${ANSWERS} sends ends once, whatever the agent answers (seed ${SEED})`, async (t) => {
  const agent = await startFuzzAgent(SEED);
  const relay = await RelayProcess.start(agent.endpoint, {
    sendTimeout: 10_000,
    streamIdleTimeout: 10_000,
    cleanupTimeout: 10_000,
    throwing: 1,
  });
  t.teardown(() => {
    relay.kill();
    return agent.close();
  });
  let next = 0;
  const told = new Map<string, number>();
  const worker = async (end: number): Promise<void> => {
    while (next < end) {
      const client = await RecordingClient.open(relay.url);
      for (let round = 0; round < 20 && next < end; round++) {
        const ids = Array.from({ length: Math.min(24, end - next) }, () => next++);
        const sends = ids.map((id) => to(`agent-${id % 8}`, `a${id}`, { trace_id: `a${id}`, stream: id % 2 === 0 }));
        for (const frames of await Promise.all(sends.map((send) => client.exchange(send, 60_000)))) {
          const { type } = frames.at(-1) ?? { type: 'nothing' };
          told.set(type, (told.get(type) ?? 0) + 1);
        }
      }
      const { unexpected } = client;
      if (unexpected.length > 0) t.fail('frames after the last one', { unexpected });
      client.socket.terminate();
    }
  };
  const all = (end: number): Promise<unknown> => Promise.all(Array.from({ length: 6 }, () => worker(end)));
  await all(ANSWERS / 5);
  const first = await relay.settled();
  await all(ANSWERS);
  t.ok((told.get('response') ?? 0) > 0 && (told.get('done') ?? 0) > 0, 'some answers are right');
  t.comment(`told: ${[...told].map(([type, times]) => `${type} ${times}`).join(', ')}`);
  sound(t, first, await relay.settled());
  t.equal(await relay.stop(), 0, 'the relay exits by itself');
});
