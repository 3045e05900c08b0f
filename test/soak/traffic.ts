import type { Random } from '@arc/test-client';
import { faults, type ScriptedAnswer, type TestAgent } from '@arc/thread-core/testing';
import { type Frame, RecordingClient, to } from '../faults/world.js';

/** The events so far. */
export interface Tally {
  sends: number;
  faults: number;
  dropped: number;
  told: Record<string, number>;
  /** Violations: a send that did not end in time, or a frame after its end. */
  broken: string[];
}

const FAULTS: readonly ScriptedAnswer[] = [
  faults.reset(),
  faults.reset(150),
  faults.cut(0),
  faults.cut(150),
  faults.truncated(150),
  faults.html(502),
  faults.empty(500),
  faults.contentType('text/plain'),
  faults.huge(300_000),
  faults.hang(),
  faults.stall({ event: 'stream', data: { n: 1 } }),
  { error: { code: -32_603 } },
  { error: { code: -44_007 } },
  { events: [{ data: 1 }], done: false },
];

/** Runs one client after another, each with a few threads, until `isDone`. */
export async function traffic(
  url: string,
  agent: TestAgent,
  random: Random,
  tally: Tally,
  isDone: () => boolean,
): Promise<void> {
  for (let number = 0; !isDone(); ) {
    const client = await RecordingClient.open(url);
    for (let round = 1 + random.below(12); round > 0 && !isDone(); round--) {
      const ids = Array.from(
        { length: 1 + random.below(5) },
        () => `${process.pid}-${random.below(2 ** 31)}-${number++}`,
      );
      await Promise.all(ids.map((id) => send(client, id, agent, random, tally)));
      if (random.chance(0.05)) {
        const open = [...agent.chats.values()].findLast(({ status }) => status === 'ACTIVE');
        if (open !== undefined) agent.forget(open.chatId);
      }
    }
    const { unexpected } = client;
    if (unexpected.length > 0) tally.broken.push(`unexpected: ${JSON.stringify(unexpected)}`);
    // Half of them disconnect with a send in flight.
    if (random.chance(0.5)) client.send(to('agent-0', 'last', { stream: true }));
    if (random.chance(0.3)) client.socket.close(1000);
    else client.socket.terminate();
    await client.closed;
    tally.dropped += 1;
  }
}

async function send(
  client: RecordingClient,
  id: string,
  agent: TestAgent,
  random: Random,
  tally: Tally,
): Promise<void> {
  if (random.chance(0.2)) {
    tally.faults += 1;
    agent.script(({ traceId }) => traceId === id, random.pick(FAULTS));
  }
  const thread = `agent-${random.below(6)}`;
  tally.sends += 1;
  client.send(to(thread, id, { trace_id: id, stream: random.chance(0.5) }));
  if (random.chance(0.05)) client.socket.send(JSON.stringify({ type: 'cancel', id }));
  if (random.chance(0.03)) await client.exchange({ id: `bad-${id}`, message: 'rubbish' });
  if (random.chance(0.05)) await client.exchange({ type: 'end', id: `end-${id}`, agent_id: thread });
  const frames: Frame[] = await client.answerTo(id, 20_000).catch((error: Error) => {
    tally.broken.push(error.message);
    return [];
  });
  const last = frames.at(-1)?.type ?? 'nothing';
  tally.told[last] = (tally.told[last] ?? 0) + 1;
}
