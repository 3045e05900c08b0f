import { once } from 'node:events';
import { faults, type RecordedRequest, startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { start } from './child.js';
import { bounded } from './world.js';

t.test('after relay.close() nothing keeps the process: no handle, timer, socket or listener', async (t) => {
  const agent = await startTestAgent();
  agent.script({ agentId: 'broken', method: 'chat.start' }, faults.reset(), faults.cut(20));
  const gate = agent.hold((request) => request.agentId === 'held' && request.method !== 'chat.end');
  const child = start(new URL('exits-by-itself.ts', import.meta.url), [agent.endpoint]);
  t.teardown(() => {
    child.kill('SIGKILL');
    return agent.close();
  });
  const exit = once(child, 'exit');
  const word = async (): Promise<unknown> => (await bounded(once(child, 'message'), 'word of the process'))[0];
  const isHeld = ({ agentId, method }: RecordedRequest): boolean => agentId === 'held' && method !== 'chat.end';
  for (const count of [1, 2, 3]) {
    t.equal(await word(), 'sent');
    await agent.waitFor(({ requests }) => requests.filter(isHeld).length >= count);
    child.send('arrived');
  }
  t.equal(await word(), 'closing');
  // What is in flight when the relay is closed has to be waited for, so that its chat can be ended.
  gate.release();
  const { summary, ...left } = (await word()) as {
    summary: unknown;
    sessions: number;
    atEnd: string[];
    atClose: string[];
  };
  t.match(summary, { failed: 0 });
  // The server that the application has made is the application's to close.
  const mine = left.atClose.filter((kind) => kind !== 'TCPServerWrap');
  t.strictSame({ ...left, atClose: mine }, { sessions: 0, atClose: [], atEnd: [], listeners: 0 });
  const [code] = await bounded(exit, 'the exit of the process');
  t.equal(code, 0, 'it exits by itself');
  await agent.waitFor('idle');
  t.equal(agent.counters.connections, 0, 'no connection to the agent is left');
});
