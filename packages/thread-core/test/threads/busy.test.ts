import t from 'tap';
import { faults } from '../../src/testing/index.js';
import { dispatch, methods, RecordingListener, reached, requestsOf, saidIn, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

t.test('queue: a send waits for the one before it [F-37] [F-103]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'queue' });
  await threads.sendToAgent(hello);
  const gate = agent.hold('chat.message');
  const sends = [1, 2, 3].map(() => threads.sendToAgent(hello));
  await gate.arrived;
  const other = await threads.sendToAgent({ ...hello, agentId: 'other' });
  t.equal(saidIn(other), 'other #1: hello', 'other agents do not wait');
  t.equal(requestsOf(agent, 'chat.message').length, 1);
  gate.release();
  t.strictSame((await Promise.all(sends)).map(saidIn), ['support #2: hello', 'support #3: hello', 'support #4: hello']);
});

t.test('parallel: sends run side by side as soon as the chat is there [F-106]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  const start = agent.hold('chat.start');
  const gate = agent.hold('chat.message');
  const sends = [1, 2, 3, 4].map(() => threads.sendToAgent(hello));
  await start.arrived;
  t.equal(agent.counters.requests, 1);
  start.release();
  await agent.waitFor(({ counters }) => counters.running === 3);
  gate.release();
  t.equal((await Promise.all(sends)).length, 4);
  t.strictSame(methods(agent), ['chat.start', ...Array(3).fill('chat.message')]);
});

t.test('reject: a send fails with -50001 while another one runs, and is never sent [F-107]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'reject' });
  const gate = agent.hold('chat.start');
  const first = threads.sendToAgent(hello);
  await gate.arrived;
  await t.rejects(threads.sendToAgent(hello), { name: 'AgentBusyError', code: -50_001, message: /"support"/ });
  await t.rejects(threads.sendToAgent({ ...hello, stream: true }), { code: -50_001 });
  const { listener, send } = dispatch(threads);
  send.cancel();
  t.equal(await listener.ended, 'error', 'once it is refused there is nothing to cancel');
  const other = threads.sendToAgent({ ...hello, contextId: 'other' });
  await reached(agent, 'chat.start', 2);
  gate.release();
  t.equal(saidIn(await first), 'support #1: hello');
  await other;
  t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello', 'and when it is over the next may run');
  t.equal(agent.counters.requests, 3);
});

t.test('interrupt: a send cancels the running one, and continues in its chat [F-108]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'interrupt' });
  await threads.sendToAgent(hello);
  agent.script('chat.message', faults.stall({ data: 'so far' }));
  const first = dispatch(threads, { stream: true });
  await reached(agent, 'chat.message');
  const second = await threads.sendToAgent({ ...hello, message: say('stop, rather this') });
  t.equal(await first.listener.ended, 'cancelled');
  t.equal(saidIn(second), 'support #3: stop, rather this');
  await agent.waitFor(({ counters }) => counters.aborted === 1);
  t.equal(requestsOf(agent, 'chat.start').length, 1);
});

t.test('interrupt: of many sends at once the last one is answered, and no chat is left over', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'interrupt', cleanupTimeout: 500 });
  const sends = Array.from({ length: 10 }, () => settled(threads.sendToAgent(hello)));
  const results = await Promise.all(sends);
  t.match(
    results.map(({ error }) => error),
    [...Array(9).fill({ name: 'AbortError' }), undefined],
  );
  t.equal(threads.threadCount, 1);
  await threads.endAllChats();
  await agent.waitFor('idle');
  t.equal(agent.counters.open, 0);
});

t.test('interrupt: a start that is interrupted is ended, the next one starts a chat of its own', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'interrupt' });
  const gate = agent.hold(({ params }) => JSON.stringify(params).includes('first'));
  const first = dispatch(threads, { message: say('first') });
  const { chatId } = await gate.arrived;
  const second = await threads.sendToAgent(hello);
  t.equal(await first.listener.ended, 'cancelled');
  t.not(second.result.chat.chatId, chatId);
  await agent.waitFor(({ chats }) => chats.get(chatId ?? '')?.status === 'CLOSED');
  t.equal(agent.counters.open, 1);
  gate.release();
});

t.test('interrupt: a listener that sends again from within onCancelled loses nothing', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'interrupt' });
  await threads.sendToAgent(hello);
  const gate = agent.hold(({ params }) => JSON.stringify(params).includes('first'));
  const order: string[] = [];
  const again = new RecordingListener();
  class First extends RecordingListener {
    override onCancelled(): void {
      order.push('first: cancelled');
      threads.dispatch(hello, again);
    }
  }
  threads.dispatch({ ...hello, message: say('first') }, new First());
  await gate.arrived;
  const second = dispatch(threads);
  order.push(`second: ${await second.listener.ended}`, `again: ${await again.ended}`);
  t.strictSame(order, ['first: cancelled', 'second: cancelled', 'again: response']);
  gate.release();
});

t.test('a listener is never called from within the call that starts its send [T-20]', async (t) => {
  const nowhere = await setUp(t, { client: { endpoint: () => null } });
  const closed = await setUp(t);
  await closed.client.close();
  const busy = await setUp(t, { busy: 'reject' });
  const gate = busy.agent.hold();
  dispatch(busy.threads);
  for (const { threads } of [nowhere, closed, busy]) {
    const { listener } = dispatch(threads);
    t.strictSame(listener.received, [], 'not before `dispatch` has given the send');
    t.equal(await listener.ended, 'error');
  }
  gate.release();
});

t.test('parallel: other messages wait until the agent has named the chat [F-106] [T-4]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  const gate = agent.hold(({ agentId }) => agentId === 'support');
  const sends = [1, 2, 3].map(() => threads.sendToAgent(hello));
  await gate.arrived;
  // What was sent before this would have arrived before it was answered.
  await threads.sendToAgent({ ...hello, agentId: 'other' });
  t.equal(agent.requests.filter(({ agentId }) => agentId === 'support').length, 1);
  gate.release();
  t.equal((await Promise.all(sends)).length, 3);
});
