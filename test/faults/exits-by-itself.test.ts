import { once } from 'node:events';
import { faults, type RecordedRequest, startTestAgent } from '@arc/thread-core/testing';
import t, { type Test } from 'tap';
import { start } from './child.js';
import { withDeadline } from './world.js';

t.setTimeout(180_000);

for (const host of ['ws', 'fastify', 'express 5', 'koa 3']) {
  t.test(`${host}: after relay.close() no handle, timer, socket or listener remains`, (t) => exits(t, host));
}

async function exits(t: Test, host: string): Promise<void> {
  const agent = await startTestAgent();
  agent.script({ agentId: 'broken', method: 'chat.start' }, faults.reset(), faults.cut(20));
  const gate = agent.hold((request) => request.agentId === 'held' && request.method !== 'chat.end');
  const child = start(new URL('exits-by-itself.ts', import.meta.url), [host, agent.endpoint]);
  t.teardown(() => {
    child.kill('SIGKILL');
    return agent.close();
  });
  const exit = once(child, 'exit');
  const word = async (): Promise<unknown> =>
    (await withDeadline(once(child, 'message'), 'a message of the process', 30_000))[0];
  const isHeld = ({ agentId, method }: RecordedRequest): boolean => agentId === 'held' && method !== 'chat.end';
  for (const count of [1, 2, 3]) {
    t.equal(await word(), 'sent');
    await agent.waitFor(({ requests }) => requests.filter(isHeld).length >= count);
    child.send('arrived');
  }
  t.equal(await word(), 'closing');
  // The relay waits for what is in flight, so that it can end the chat.
  gate.release();
  const { summary, atClose, ...left } = (await word()) as { summary: unknown; atClose: string[] };
  t.match(summary, { failed: 0 });
  // The application closes the server. The connection of a client that has not answered the close frame is still open.
  const mine = atClose.filter((kind) => kind !== 'TCPServerWrap');
  t.strictSame(mine, [], 'immediately');
  t.strictSame(left, { sessions: 0, atEnd: [], ofServer: 0, ofProcess: 0 }, 'after the server is closed');
  const [code] = await withDeadline(exit, 'the exit of the process', 30_000);
  t.equal(code, 0, 'it exits by itself');
  await agent.waitFor('idle');
  t.equal(agent.counters.connections, 0, 'no connection to the agent remains');
}
