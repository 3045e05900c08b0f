import t from 'tap';
import { arcError } from '../../src/protocol/errors.js';
import type { LostChat } from '../../src/testing/index.js';
import { isLostChat } from '../../src/threads/chat-errors.js';
import { dispatch, methods, reached, readAll, requestsOf, saidIn, say, settled, setUp } from './helpers.js';

const one = { agentId: 'support', message: say('one') };
const two = { agentId: 'support', message: say('two') };

const CODES = [-43_001, -43_002, -43_003, -42_005];

for (const code of CODES) {
  const ways: [LostChat, boolean][] = [200, 400, 404, 500].flatMap((status) => [
    [{ code, status }, false],
    [{ code, status }, true],
  ]);
  ways.push([{ code, as: 'event' }, true]);
  t.test(`a chat that the agent has lost (${code}) is started again once, and the answer says so [T-5]`, async (t) => {
    for (const [lostChat, stream] of ways) {
      const way = `${JSON.stringify(lostChat)}, ${stream ? 'a stream' : 'JSON'}`;
      const { agent, threads, restarted } = await setUp(t, { agent: { lostChat } });
      await threads.sendToAgent({ ...one, metadata: { tier: 'gold' } });
      const before = threads.getThreadId('support');
      agent.forget();
      const request = { ...two, metadata: { tier: 'gold' } };
      if (stream) {
        const answer = await threads.sendToAgent({ ...request, stream });
        t.match(await readAll(answer), { text: 'support #1: two', restarted: true }, way);
        t.equal(answer.restarted, true, way);
        t.equal(answer.chatId, threads.getThreadId('support'));
      } else {
        const answer = await threads.sendToAgent(request);
        t.equal(saidIn(answer), 'support #1: two', way);
        t.equal(answer.restarted, true, way);
        t.notMatch(JSON.stringify(answer), /restarted/, 'the envelope is as it came');
      }
      t.strictSame(methods(agent), ['chat.start', 'chat.message', 'chat.start'], way);
      t.strictSame(agent.requests[2]?.params.metadata, { tier: 'gold' });
      t.not(threads.getThreadId('support'), before);
      t.strictSame([...agent.chats.keys()], [threads.getThreadId('support')]);
      t.equal(restarted.length, 1);
      t.equal((await threads.sendToAgent(two)).restarted, false, 'the next answer is not marked');
      t.equal(requestsOf(agent, 'chat.start').length, 2);
    }
  });
}

t.test('a stream that answers a plain send says that it was restarted', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(one);
  agent.forget();
  agent.script('chat.start', { events: [{ data: 'fresh' }] });
  const answer = await threads.sendToAgent(two);
  t.equal(saidIn(answer), 'fresh');
  t.equal(answer.restarted, true);
});

t.test('a send is not restarted twice: it fails as restarted, and the next one starts a new chat [T-6]', async (t) => {
  for (const code of CODES) {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(one);
    agent.forget();
    agent.script('chat.start', { error: { code } });
    const { listener, send } = dispatch(threads, two);
    t.equal(await listener.ended, 'error');
    t.match(listener.error, { code });
    t.equal(send.restarted, true);
    t.equal(requestsOf(agent, 'chat.start').length, 2);
    t.equal(threads.hasThread('support'), false);
    const next = await threads.sendToAgent(two);
    t.equal(next.restarted, false);
    t.equal(saidIn(next), 'support #1: two');
    await threads.endAllChats();
    t.equal(agent.counters.open, 0);
  }
});

t.test('a restart that fails is reported as restarted, also as a stream, and leaves no chat', async (t) => {
  for (const stream of [false, true]) {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(one);
    agent.forget();
    agent.script('chat.start', () => {
      throw new Error('out of order');
    });
    const { listener, send } = dispatch(threads, { ...two, stream });
    t.equal(await listener.ended, 'error');
    t.equal(send.restarted, true);
    t.equal(listener.received.length, 1);
    await agent.waitFor('idle');
    t.match(agent.counters, { started: 2, ended: 1, open: 0 });
  }
});

t.test('a restart whose connection breaks is not repeated', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(one);
  agent.forget();
  agent.script('chat.start', { reply: 'cut', after: 0, finish: 'reset' });
  const { listener, send } = dispatch(threads, two);
  t.equal(await listener.ended, 'error');
  t.match(listener.error, { code: -41_003 });
  t.equal(send.restarted, true);
  await agent.waitFor('idle');
});

t.test('a chat lost after content was delivered is an error, and the next send starts a new chat [T-7]', async (t) => {
  for (const code of CODES) {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(one);
    const lost = { event: 'error', data: { chatId: 'x', error: { code, message: 'gone' } } };
    agent.script('chat.message', { events: [{ data: 'so far' }, lost] });
    const stream = await threads.sendToAgent({ ...two, stream: true });
    t.match(await stream.next(), { value: { event: 'content', data: 'so far' } });
    t.match(await stream.next(), { value: { event: 'error', data: { error: { code, message: 'gone' } } } });
    t.match(await stream.next(), { done: true });
    t.equal(stream.restarted, false);
    t.equal(threads.hasThread('support'), false);
    t.strictSame(methods(agent), ['chat.start', 'chat.message'], 'nothing is sent again');
    await threads.sendToAgent(two);
    t.equal(methods(agent).at(-1), 'chat.start');
  }
});

t.test('the same where a stream answers a plain send', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(one);
  const lost = { event: 'error', data: { error: { code: -43_001, message: 'gone' } } };
  agent.script('chat.message', { events: [{ data: 'so far' }, lost] });
  await t.rejects(threads.sendToAgent(two), { code: -43_001 });
  t.equal(threads.hasThread('support'), false);
  t.equal(agent.counters.requests, 2);
});

t.test('other errors do not restart a chat', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(one);
  for (const code of [-43_004, -43_005, -32_603, -42_001, -44_001, -50_007]) {
    agent.script('chat.message', { error: { code } });
    await t.rejects(threads.sendToAgent(two), { code });
    t.equal(threads.hasThread('support'), true);
  }
  t.equal(requestsOf(agent, 'chat.start').length, 1);
});

t.test('two parallel sends that both find the chat lost make one new chat.start', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  await threads.sendToAgent(one);
  agent.forget();
  const gate = agent.hold('chat.start');
  const answers = [threads.sendToAgent(two), threads.sendToAgent(two), threads.sendToAgent(two)];
  await reached(agent, 'chat.message', 3);
  await gate.arrived;
  gate.release();
  t.strictSame(
    (await Promise.all(answers)).map(({ restarted }) => restarted),
    [true, true, true],
  );
  t.equal(requestsOf(agent, 'chat.start').length, 2);
  t.equal(requestsOf(agent, 'chat.message').length, 5, 'the others continued in the new chat');
  t.equal(agent.counters.open, 1);
});

t.test(
  'a parallel send that finds the chat lost after another one has restarted it continues in the new chat',
  async (t) => {
    const { agent, threads } = await setUp(t, { busy: 'parallel' });
    await threads.sendToAgent(one);
    const gate = agent.hold(({ params }) => JSON.stringify(params.message)?.includes('slow'));
    agent.script('chat.message', { error: { code: -43_001 }, times: 2 });
    const slow = threads.sendToAgent({ ...one, message: say('slow') });
    await gate.arrived;
    const first = await threads.sendToAgent(two);
    t.equal(first.restarted, true);
    const chatId = threads.getThreadId('support');
    gate.release();
    const second = await slow;
    t.equal(second.restarted, true);
    t.equal(second.result.chat.chatId, chatId, 'the new chat is not lost again');
    t.equal(requestsOf(agent, 'chat.start').length, 2);
  },
);

t.test('a parallel send that waits for a restart that fails starts the chat itself', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  await threads.sendToAgent(one);
  agent.forget();
  agent.script('chat.start', { error: { code: -32_603 } });
  const gate = agent.hold('chat.start');
  const first = settled(threads.sendToAgent(two));
  const second = settled(threads.sendToAgent(two));
  await reached(agent, 'chat.message', 2);
  await gate.arrived;
  gate.release();
  const results = await Promise.all([first, second]);
  t.match(
    results.map(({ error }) => error),
    [{ code: -32_603 }, undefined],
  );
  t.equal(results[1]?.value?.restarted, true);
  await threads.endAllChats();
  t.equal(agent.counters.open, 0);
});

t.test('a parallel send that meets a lost chat again in the new one fails [F-30] [T-6]', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  await threads.sendToAgent(one);
  agent.script('chat.message', { error: { code: -43_001 }, times: 3 });
  const gate = agent.hold('chat.start');
  const first = settled(threads.sendToAgent(two));
  const second = dispatch(threads, two);
  await reached(agent, 'chat.message', 2);
  await gate.arrived;
  gate.release();
  t.equal((await first).value?.restarted, true);
  t.equal(await second.listener.ended, 'error');
  t.match(second.listener.error, { code: -43_001 });
  t.equal(second.send.restarted, true);
  t.equal(threads.hasThread('support'), false);
});

t.test('a send that waits for a restart can be cancelled', async (t) => {
  const { agent, threads } = await setUp(t, { busy: 'parallel' });
  await threads.sendToAgent(one);
  agent.forget();
  const gate = agent.hold('chat.start');
  const first = dispatch(threads, two);
  const second = dispatch(threads, two);
  await reached(agent, 'chat.message', 2);
  await gate.arrived;
  await agent.waitFor(({ counters }) => counters.running === 1);
  // Whichever of the two restarts the chat, the other one waits.
  const [waits, starts] = first.send.starting === undefined ? [first, second] : [second, first];
  waits.send.cancel();
  t.equal(await waits.listener.ended, 'cancelled');
  gate.release();
  t.equal(await starts.listener.ended, 'response');
  t.equal(agent.counters.requests, 4);
});

t.test('a chat in the store that another process has ended is restarted', async (t) => {
  const { agent, threads } = await setUp(t);
  threads.storeThreadId('support', 'long-gone');
  const answer = await threads.sendToAgent(one);
  t.equal(answer.restarted, true);
  t.strictSame(methods(agent), ['chat.message', 'chat.start']);
});

t.test('a long error is searched for the chat at its beginning only [F-460]', async (t) => {
  const errorOf = (text: string) => arcError(-32_603, text, { fromAgent: true });
  const say = (text: string): boolean => isLostChat(errorOf(text), 'c');
  t.equal(say('Chat c not found'), true);
  t.equal(say(`Chat c not found ${'x'.repeat(20_000)}`), true);
  t.equal(say(`${'x'.repeat(20_000)} chat c not found`), false);
  // Each of these could be the id.
  const long = errorOf(Buffer.from(`not found ${'c'.repeat(16_000_000)}`).toString());
  const start = performance.now();
  t.equal(isLostChat(long, 'c'), false);
  const took = performance.now() - start;
  t.ok(took < 50, `${took} ms`);
});
