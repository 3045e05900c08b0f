import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { Random } from '@arc/test-client';
import t from 'tap';
import { type Answer, faults, type TestAgent, type TestAgentOptions } from '../../src/testing/index.js';
import type { BusyPolicy } from '../../src/threads/thread-queue.js';
import { withTimeout } from '../../src/timers.js';
import { dispatch, setUp } from './helpers.js';

const SEED = Number(process.env.ARC_TEST_SEED ?? Date.now() % 1_000_000);

const ODDITIES: Answer[] = [
  'a plain answer',
  ['piece ', 'by ', 'piece'],
  { error: { code: -32_603 } },
  { error: { code: -50_007 } },
  { events: [{ data: 'so far' }, { event: 'error', data: { code: -50_007, message: 'no' } }] },
  { events: [{ data: 'so far' }], finish: 'cut' },
  async function* stalls() {
    yield 'so far';
    await new Promise(() => {});
  },
  { events: [{ event: 'error', data: 'some text' }, { event: 'done' }] },
  faults.hang(),
  faults.reset(),
  faults.reset(30),
  faults.cut(30),
  faults.truncated(30),
  faults.html(502),
  faults.empty(500),
];

/** Not for chat.message: that would be a lie, and a chat that is said to be lost is not ended. */
const NO_CHAT: Answer[] = [
  { error: { code: -43_001 } },
  { error: { code: -43_002 }, status: 500 },
  { error: { code: -43_001 }, as: 'event' },
];

const AGENTS: TestAgentOptions[] = [
  { createChat: 'at-once' },
  { createChat: 'when-ready' },
  { createChat: 'at-once', lostChat: { as: 'event' } },
  { createChat: 'when-ready', lostChat: { code: -42_005, status: 200 } },
];

function openChats(agent: TestAgent): string[] {
  return [...agent.chats.values()].filter(({ status }) => status === 'ACTIVE').map(({ chatId }) => chatId);
}

t.test(`every send ends exactly once, whatever happens (ARC_TEST_SEED=${SEED}) [T-8]`, { jobs: 4 }, async (t) => {
  for (const busy of ['queue', 'parallel', 'reject', 'interrupt'] satisfies BusyPolicy[]) {
    for (const [round, agentOptions] of AGENTS.entries()) {
      t.test(`${busy}, ${JSON.stringify(agentOptions)}`, async (t) => {
        const random = new Random(SEED + round * 1000 + busy.length);
        const { agent, threads, started, ended } = await setUp(t, { agent: agentOptions, busy, cleanupTimeout: 1000 });
        const sends: ReturnType<typeof dispatch>[] = [];
        const endings: Promise<unknown>[] = [];
        for (let step = 0; step < 150; step++) {
          const dice = random.next();
          const agentId = random.pick(['a', 'b']);
          const contextId = random.pick([undefined, 'c']);
          if (dice < 0.6) {
            const stream = random.pick([true, false, undefined]);
            sends.push(dispatch(threads, { agentId, contextId, stream, timeout: 100, streamIdleTimeout: 100 }));
          } else if (dice < 0.75) {
            if (random.next() < 0.5) agent.script('chat.start', random.pick([...ODDITIES, ...NO_CHAT]));
            else agent.script('chat.message', random.pick(ODDITIES));
          } else if (dice < 0.85) {
            if (sends.length > 0) random.pick(sends).send.cancel();
          } else if (dice < 0.9) {
            endings.push(threads.endThread(agentId, { contextId }));
          } else if (dice < 0.92) {
            endings.push(threads.endAllChats());
          } else if (dice < 0.94) {
            agent.forget();
          } else if (dice < 0.96) {
            const { send } = sends.at(-1) ?? {};
            send?.pause();
            queueMicrotask(() => send?.resume());
          } else {
            await withTimeout(random.pick(sends)?.listener.ended ?? Promise.resolve(), 8000);
          }
          for (let turns = random.below(4); turns > 0; turns--) await setImmediate();
        }
        const ends = await Promise.all(sends.map(({ listener }) => withTimeout(listener.ended, 8000)));
        t.strictSame(
          ends.flatMap((how, index) => (how === undefined ? [index] : [])),
          [],
          'each ended in time',
        );
        await Promise.all(endings);
        await threads.endAllChats();
        t.ok(sends.length > 50, `${sends.length} sends: ${JSON.stringify(count(ends))}`);
        t.strictSame(
          sends.filter(
            ({ listener }) => listener.endings !== 1 || listener.received.some((what) => what.startsWith('late')),
          ),
          [],
          'each ended once, and received nothing afterwards',
        );
        t.equal(threads.threadCount, 0);
        t.strictSame(openChats(agent), [], 'no chat is open');
        t.ok(started.length > 0 && ended.length <= started.length);
        await agent.waitFor('idle');
        const last = dispatch(threads, { agentId: 'another', timeout: 100, streamIdleTimeout: 100 });
        t.equal((await withTimeout(last.listener.ended, 8000)) === undefined, false, 'the manager can be used again');
      });
    }
  }
});

function count(ends: readonly (string | undefined)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const how of ends.map(String)) counts[how] = (counts[how] ?? 0) + 1;
  return counts;
}

t.test('a process that has ended its chats and closed its client exits by itself', async (t) => {
  const child = fork(new URL('exits-by-itself.ts', import.meta.url), {
    execArgv: [],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code, signal] = await once(child, 'exit');
  t.strictSame([code, signal], [0, null]);
  t.match(output, /^the agent has no chats left: 0 open, 3 ended\n$/);
});
