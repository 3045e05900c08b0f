import { startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { RelayProcess, type Report } from './faults/child.js';
import { RecordingClient, until } from './faults/world.js';

const SOCKETS = 1000;
const AGENTS = ['sales', 'support', 'finance'];
const CHATS = SOCKETS * AGENTS.length;
const MB = 1024 * 1024;

t.setTimeout(120_000);

t.test(`${SOCKETS} connections that drop at once leave no open chat and no memory behind`, async (t) => {
  const agent = await startTestAgent();
  // Idle connections to the agent stay open for seconds, at 5 KB each. A fixed number keeps them out of the measurement.
  const relay = await RelayProcess.start(agent.endpoint, { cleanupTimeout: 30_000, connections: 64 });
  t.teardown(() => {
    relay.kill();
    return agent.close();
  });
  // The first round does not count as a leak: it compiles code, opens connections to the agent, and allocates buffers.
  const rounds: Report[] = [];
  for (const round of [1, 2]) {
    await storm(relay, round);
    await agent.waitFor(({ counters }) => counters.ended >= CHATS * round && counters.running === 0, {
      timeout: 30_000,
    });
    const report = await relay.settled();
    rounds.push(report);
    const { started, ended, open } = agent.counters;
    t.strictSame({ started, ended, open }, { started: CHATS * round, ended: CHATS * round, open: 0 }, `storm ${round}`);
    const { sessions, threads, pending, failed, errors } = report;
    const nothing = { sessions: 0, threads: 0, pending: 0, failed: 0, errors: [] };
    t.strictSame({ sessions, threads, pending, failed, errors }, nothing, `the relay after storm ${round}`);
  }
  const [first = 0, last = 0] = rounds.map(({ heap }) => heap);
  t.ok(last < first + 3 * MB, `the heap is back: ${rounds.map(({ heap }) => (heap / MB).toFixed(1)).join(', ')} MB`);
  t.equal(await relay.stop(), 0, 'the relay exits by itself');
});

/** Opens all sockets, lets each start a chat with each agent, and drops them all in one turn. */
async function storm(relay: RelayProcess, round: number): Promise<void> {
  const clients: RecordingClient[] = [];
  const message = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };
  for (let at = 0; at < SOCKETS; at += 100) {
    const some = await Promise.all(Array.from({ length: 100 }, () => RecordingClient.open(relay.url)));
    clients.push(...some);
    const frames = AGENTS.map((agent_id) => ({ id: agent_id, agent_id, message }));
    await Promise.all(some.flatMap((client) => frames.map((frame) => client.exchange(frame, 20_000))));
  }
  for (const { socket } of clients) socket.terminate();
  const open = (): number => clients.filter(({ socket }) => socket.readyState !== socket.CLOSED).length;
  await until(
    () => open() === 0,
    () => `${open()} sockets of storm ${round} to be closed`,
  );
}
