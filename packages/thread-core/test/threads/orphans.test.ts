import t from 'tap';
import { type Answer, faults, type TestAgentOptions } from '../../src/testing/index.js';
import { dispatch, methods, reached, readAll, requestsOf, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

/** The bound within which chats are to be ended. */
const BOUND = 1500;

type Speed = 'quickly' | 'later than half of the bound' | 'never';

interface Case extends TestAgentOptions {
  speed: Speed;
  stream: boolean;
}

const CASES: Case[] = (['at-once', 'when-ready'] as const)
  .flatMap((createChat) =>
    [false, true].flatMap((ignoreAbort) =>
      (['quickly', 'later than half of the bound', 'never'] as const).flatMap((speed) =>
        [false, true].flatMap((stream) =>
          (['client', 'server'] as const).map((chatIds) => ({ createChat, ignoreAbort, speed, stream, chatIds })),
        ),
      ),
    ),
  )
  .filter(({ chatIds, speed }) => chatIds === 'client' || speed === 'quickly');

t.test('a chat.start in flight when all is ended leaves no open chat [F-148] [T-10] [T-13]', { jobs: 6 }, async (t) => {
  for (const { speed, stream, ...agentOptions } of CASES) {
    const { createChat, ignoreAbort, chatIds } = agentOptions;
    const name = [
      `made ${createChat}`,
      `the closed socket ${ignoreAbort ? 'ignored' : 'honoured'}`,
      `answered ${speed}`,
      stream ? 'a stream' : 'JSON',
      `named by the ${chatIds}`,
    ].join(', ');
    t.test(name, async (t) => {
      const { agent, threads, ended, log } = await setUp(t, { agent: agentOptions, cleanupTimeout: BOUND });
      const gate = agent.hold('chat.start');
      const sent = settled(threads.sendToAgent(stream ? { ...hello, stream } : hello));
      await gate.arrived;
      const ending = threads.endAllChats();
      t.match((await sent).error, { name: 'AbortError' }, 'the send ends at once');
      t.equal(agent.counters.aborted, 0, 'the start is waited for');
      if (speed === 'quickly') gate.release();
      if (speed === 'later than half of the bound') {
        await agent.waitFor(({ counters }) => counters.aborted === 1);
        gate.release();
      }
      const outcomes = await ending;
      t.match(outcomes, [{ agentId: 'support', ok: true }]);
      t.match(ended, outcomes);
      t.strictSame(log, []);
      t.equal(agent.counters.open, 0, 'no chat is open');
      const isMade = createChat === 'at-once' || speed === 'quickly' || (ignoreAbort && speed !== 'never');
      t.equal(agent.counters.ended, isMade ? 1 : 0);
      if (isMade) t.strictSame([...agent.chats.keys()], [outcomes[0]?.chatId]);
      gate.release();
      await agent.waitFor(({ counters }) => counters.running === 0);
      t.equal(threads.threadCount, 0);
    });
  }
});

t.test('a chat that appears after its chat.start was aborted is still found and ended [T-14]', async (t) => {
  const { agent, threads } = await setUp(t, {
    agent: { createChat: 'when-ready', ignoreAbort: true },
    cleanupTimeout: 2000,
  });
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent(hello));
  await gate.arrived;
  const ending = threads.endAllChats();
  // It was looked for several times, and not found.
  await reached(agent, 'chat.end', 3);
  t.equal(agent.counters.aborted, 1);
  gate.release();
  t.match(await ending, [{ ok: true, response: { result: { chat: { status: 'CLOSED' } } } }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  await sent;
});

t.test('a stream that was cut off before it named its chat is read until it does', async (t) => {
  const { agent, threads } = await setUp(t, { agent: { chatIds: 'server' } });
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const progress = { event: 'progress', data: 50 };
  agent.script('chat.start', async function* reply() {
    yield progress;
    await released;
    yield progress;
    yield 'named';
    await new Promise(() => {});
  });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await stream.next();
  const ending = threads.endAllChats();
  await t.rejects(readAll(stream), { name: 'AbortError' });
  release();
  t.match(await ending, [{ chatId: /^chat-/, ok: true }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  await agent.waitFor(({ counters }) => counters.aborted === 1);
});

t.test('a running stream whose chat id is known is closed at once, and its chat is ended', async (t) => {
  for (const chatIds of ['client', 'server'] as const) {
    const { agent, threads } = await setUp(t, { agent: { chatIds } });
    agent.script('chat.start', async function* reply() {
      yield 'named';
      await new Promise(() => {});
    });
    const stream = await threads.sendToAgent({ ...hello, stream: true });
    await stream.next();
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.match(agent.counters, { started: 1, ended: 1, open: 0, aborted: 1 });
  }
});

t.test('a paused start is read on when its chat is to be ended', async (t) => {
  const { agent, threads } = await setUp(t, { agent: { chatIds: 'server' } });
  const listener = { onResponse() {}, onEvent() {}, onError() {}, onCancelled() {} };
  const gate = agent.hold('chat.start');
  const send = threads.dispatch({ ...hello, stream: true }, listener);
  send.pause();
  await gate.arrived;
  gate.release();
  await agent.waitFor(({ counters }) => counters.running === 0);
  t.match(await threads.endAllChats(), [{ chatId: /^chat-/, ok: true }]);
  t.equal(agent.counters.open, 0);
});

/** Ways for a chat.start to fail, and whether it leaves a chat at an agent that makes it at once. */
const FAILURES: Record<string, { answer: Answer; timeout?: number; chats: number }> = {
  'a handler that throws: 500 with -32603': {
    answer: () => {
      throw new Error('out of order');
    },
    chats: 1,
  },
  '-32603 without a chat': { answer: { error: { code: -32_603 }, status: 500 }, chats: 0 },
  '-41006 of an agent behind the agent': { answer: { error: { code: -41_006 }, status: 504 }, chats: 0 },
  'no answer in time': { answer: faults.hang(), timeout: 500, chats: 1 },
  'a reset before the answer': { answer: faults.reset(), chats: 1 },
  'a reset in the midst of the answer': { answer: faults.reset(20), chats: 1 },
  'a truncated answer': { answer: faults.truncated(90), chats: 1 },
  'a connection that is closed': { answer: faults.cut(0), chats: 1 },
  '502 of a proxy, the chat made': {
    answer: { raw: ['HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<p/>'] },
    chats: 1,
  },
  '502 of a proxy, no chat made': { answer: faults.html(502), chats: 0 },
  'an answer without content': { answer: faults.empty(500), chats: 0 },
};

t.test('a chat.start that fails leaves no open chat, and no thread', { jobs: 6 }, async (t) => {
  for (const [name, { answer, timeout, chats }] of Object.entries(FAILURES)) {
    for (const createChat of ['at-once', 'when-ready'] as const) {
      for (const stream of [false, true]) {
        t.test(`${name} (made ${createChat}, ${stream ? 'a stream' : 'JSON'})`, async (t) => {
          const { agent, threads, ended, log } = await setUp(t, { agent: { createChat }, cleanupTimeout: BOUND });
          agent.script('chat.start', answer);
          const { listener } = dispatch(threads, { stream, timeout });
          t.equal(await listener.ended, 'error');
          await threads.endAllChats();
          const { started, ended: closed, open } = agent.counters;
          t.strictSame([started - closed, open], [0, 0]);
          if (createChat === 'at-once') t.equal(started, chats);
          t.equal(threads.hasThread('support'), false);
          t.match(ended, [{ agentId: 'support', ok: true }]);
          t.strictSame(log, []);
          t.ok(requestsOf(agent, 'chat.end').every(({ chatId }) => chatId === agent.requests[0]?.chatId));
        });
      }
    }
  }
});

t.test('a stream of a chat.start that breaks off after its beginning keeps the thread', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', { events: [{ data: 'so far' }], finish: 'cut' });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await t.rejects(readAll(stream), { code: -43_104 });
  t.equal(threads.hasThread('support'), true);
  await threads.sendToAgent(hello);
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
  await threads.endAllChats();
  t.equal(agent.counters.open, 0);
});

t.test('the chat of a broken stream is ended even if it appears late [T-14]', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', { events: [{ data: 'so far' }], finish: 'cut' });
  agent.script('chat.end', { error: { code: -43_001 }, times: 2 });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await t.rejects(readAll(stream), { code: -43_104 });
  t.match(await threads.endAllChats(), [{ ok: true, response: { arc: '1.0' } }]);
  t.equal(requestsOf(agent, 'chat.end').length, 3);
});

t.test(
  'a chat that was lost before it appeared is looked for, though its thread continues in a new one [T-14]',
  async (t) => {
    const { agent, threads } = await setUp(t);
    agent.script('chat.start', { events: [{ data: 'so far' }], finish: 'cut' });
    const stream = await threads.sendToAgent({ ...hello, stream: true });
    await t.rejects(readAll(stream), { code: -43_104 });
    const late = threads.getThreadId('support');
    agent.script({ chatId: late as string }, { error: { code: -43_001 }, times: 2 });
    t.equal((await threads.sendToAgent(hello)).restarted, true);
    t.not(threads.getThreadId('support'), late);
    await threads.endAllChats();
    t.match(agent.counters, { started: 2, ended: 2, open: 0 });
  },
);

t.test('a chat that has answered since then is looked for only once', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', { events: [{ data: 'so far' }], finish: 'cut' });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await t.rejects(readAll(stream), { code: -43_104 });
  await threads.sendToAgent(hello);
  agent.forget();
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.equal(requestsOf(agent, 'chat.end').length, 1);
});

t.test('a cancelled chat.start is ended as soon as the agent has its chat [T-14]', { jobs: 6 }, async (t) => {
  for (const createChat of ['at-once', 'when-ready'] as const) {
    for (const ignoreAbort of [false, true]) {
      for (const stream of [false, true]) {
        const name = `${createChat}, ${ignoreAbort ? 'ignoring' : 'honouring'} the closed socket, stream: ${stream}`;
        t.test(name, async (t) => {
          const { agent, threads } = await setUp(t, { agent: { createChat, ignoreAbort }, cleanupTimeout: BOUND });
          const gate = agent.hold('chat.start');
          const controller = new AbortController();
          const { signal } = controller;
          const sent = settled(threads.sendToAgent(stream ? { ...hello, signal, stream } : { ...hello, signal }));
          await gate.arrived;
          controller.abort();
          t.match((await sent).error, { name: 'AbortError' });
          t.equal(threads.hasThread('support'), false);
          await agent.waitFor(({ counters }) => counters.aborted === 1);
          await reached(agent, 'chat.end');
          gate.release();
          t.strictSame(await threads.endAllChats(), [], 'no thread is left, but its end is waited for');
          t.equal(agent.counters.open, 0);
          await agent.waitFor('idle');
        });
      }
    }
  }
});

t.test('a first stream that is cancelled while it runs keeps its thread, which is ended with the others', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', faults.stall({ data: 'so far' }));
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await stream.next();
  stream.cancel();
  await agent.waitFor(({ counters }) => counters.aborted === 1);
  t.equal(threads.hasThread('support'), true);
  t.equal((await threads.sendToAgent(hello)).restarted, false);
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('a thread that is removed while its start runs: endAllChats waits for the end of that chat, too', async (t) => {
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent(hello));
  await gate.arrived;
  threads.removeThreadId('support');
  t.strictSame(await threads.endAllChats(), []);
  t.match((await sent).error, { name: 'AbortError' });
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('a start that is replaced by storeThreadId is ended with its thread', async (t) => {
  const { agent, client, threads } = await setUp(t);
  await client.chat.start({ targetAgent: 'support', chatId: 'mine', initialMessage: say('one') });
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent(hello));
  await gate.arrived;
  threads.storeThreadId('support', 'mine');
  t.match(await threads.endAllChats(), [{ chatId: 'mine', ok: true }]);
  await sent;
  t.match(agent.counters, { started: 2, ended: 2, open: 0 });
});

t.test('a start that the agent refuses after all chats were ended causes no chat.end', async (t) => {
  const { agent, threads, ended } = await setUp(t);
  agent.script('chat.start', { error: { code: -44_001 } });
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent(hello));
  await gate.arrived;
  const ending = threads.endAllChats();
  gate.release();
  t.match(await ending, [{ ok: true }]);
  t.strictSame(methods(agent), ['chat.start']);
  t.match(ended, [{ ok: true, response: undefined }]);
  await sent;
});

t.test('a start that fails after all chats were ended is ended nonetheless', async (t) => {
  for (const answer of [faults.reset(), faults.html(502), { error: { code: -32_603 } }]) {
    const { agent, threads } = await setUp(t, { cleanupTimeout: BOUND });
    agent.script('chat.start', answer);
    const gate = agent.hold('chat.start');
    const sent = settled(threads.sendToAgent(hello));
    await gate.arrived;
    const ending = threads.endAllChats();
    gate.release();
    t.match(await ending, [{ ok: true }]);
    t.ok(requestsOf(agent, 'chat.end').length >= 1);
    t.equal(agent.counters.open, 0);
    await sent;
  }
});

t.test('a stream whose first event is an error, after all chats were ended, is ended nonetheless', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', () => {
    throw new Error('out of order');
  });
  const gate = agent.hold('chat.start');
  const sent = settled(threads.sendToAgent({ ...hello, stream: true }));
  await gate.arrived;
  const ending = threads.endAllChats();
  gate.release();
  t.match(await ending, [{ ok: true }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
  await sent;
});

t.test('sends that wait behind a start in flight never reach the agent once all chats are ended', async (t) => {
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  const sends = [1, 2, 3].map(() => settled(threads.sendToAgent(hello)));
  await gate.arrived;
  const ending = threads.endAllChats();
  gate.release();
  await ending;
  t.match(await Promise.all(sends), Array(3).fill({ error: { name: 'AbortError' } }));
  t.strictSame(methods(agent), ['chat.start', 'chat.end']);
});
