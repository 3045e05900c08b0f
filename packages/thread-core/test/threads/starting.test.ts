import { setImmediate } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type AgentHandler, type EventsAnswer, faults, textOf } from '../../src/testing/index.js';
import type { ThreadManager } from '../../src/threads/thread-manager.js';
import type { BusyPolicy } from '../../src/threads/thread-queue.js';
import { methods, readAll, requestsOf, saidIn, say, settled, setUp, UUID } from './helpers.js';

/** An agent that counts how many chat.starts it works on at a time, and fails the first few. */
function counting(failures = 0): { handler: AgentHandler; most: { starts: number; turns: number } } {
  const now = { starts: 0, turns: 0 };
  const most = { starts: 0, turns: 0 };
  let calls = 0;
  const handler: AgentHandler = async function* handler({ method, message }) {
    const isStart = method === 'chat.start';
    now.turns += 1;
    if (isStart) now.starts += 1;
    most.turns = Math.max(most.turns, now.turns);
    most.starts = Math.max(most.starts, now.starts);
    try {
      const call = ++calls;
      // Some turns of the event loop, in which whatever else was sent arrives.
      for (let turns = 0; turns < 20; turns++) await setImmediate();
      if (call <= failures) throw new Error('not yet');
      yield textOf(message);
    } finally {
      now.turns -= 1;
      if (isStart) now.starts -= 1;
    }
  };
  return { handler, most };
}

async function answerOf(threads: ThreadManager, text: string, stream: boolean): Promise<string> {
  const options = { agentId: 'support', message: say(text) };
  if (!stream) return saidIn(await threads.sendToAgent(options));
  const { text: answer, names } = await readAll(await threads.sendToAgent({ ...options, stream }));
  if (names.at(-1) !== 'done') throw new Error(`ended with ${names.at(-1)}`);
  return answer;
}

const TWENTY = Array.from({ length: 20 }, (_, index) => `message ${index}`);

for (const stream of [false, true]) {
  for (const busy of ['queue', 'parallel'] satisfies BusyPolicy[]) {
    const kind = `${stream ? 'streams' : 'JSON'}, ${busy}`;

    t.test(`20 first messages at once make one chat.start (${kind}) [T-3] [T-4]`, async (t) => {
      const { handler, most } = counting();
      const { agent, threads } = await setUp(t, { agent: { handler }, busy });
      const answers = await Promise.all(TWENTY.map((text) => answerOf(threads, text, stream)));
      t.strictSame(answers, TWENTY, 'each send has its own answer');
      t.strictSame(methods(agent), ['chat.start', ...Array(19).fill('chat.message')]);
      t.equal(new Set(agent.requests.map(({ chatId }) => chatId)).size, 1);
      t.equal(most.starts, 1);
      if (busy === 'queue') t.equal(most.turns, 1, 'one after the other');
      else t.ok(most.turns > 1, `side by side, once the chat is there: ${most.turns}`);
      t.match(agent.counters, { started: 1, open: 1 });
    });

    t.test(`if the first starts fail the next send starts, still one at a time (${kind})`, async (t) => {
      const { handler, most } = counting(3);
      const { agent, threads } = await setUp(t, { agent: { handler }, busy });
      const answers = await Promise.all(TWENTY.map((text) => settled(answerOf(threads, text, stream))));
      t.strictSame(
        answers.slice(3).map(({ value }) => value),
        TWENTY.slice(3),
      );
      t.ok(answers.slice(0, 3).every(({ error }) => error !== undefined));
      t.equal(requestsOf(agent, 'chat.start').length, 4);
      t.equal(requestsOf(agent, 'chat.message').length, 16);
      t.equal(most.starts, 1);
      await threads.endAllChats();
      t.match(agent.counters, { started: 4, ended: 4, open: 0 });
    });
  }
}

t.test('starts with different agents, and in different contexts, run side by side', async (t) => {
  const { agent, threads } = await setUp(t);
  const gate = agent.hold('chat.start');
  const sends = ['a', 'b', 'c'].flatMap((agentId) => [
    threads.sendToAgent({ agentId, message: say('hi') }),
    threads.sendToAgent({ agentId, message: say('hi'), contextId: 'other' }),
  ]);
  await agent.waitFor(({ counters }) => counters.running === 6);
  gate.release();
  await Promise.all(sends);
  t.equal(agent.counters.started, 6);
});

t.test('the answers of one thread are in the order of its sends, streams and JSON mixed', async (t) => {
  const { agent, threads } = await setUp(t);
  const order: number[] = [];
  const answers = TWENTY.map(async (text, index) => {
    const answer = await answerOf(threads, text, index % 3 === 0);
    order.push(index);
    return answer;
  });
  t.strictSame(
    await Promise.all(answers),
    TWENTY.map((text, index) => `support #${index + 1}: ${text}`),
  );
  t.strictSame(order, [...TWENTY.keys()]);
  t.strictSame(
    agent.requests.map(({ params }) => textOf((params.initialMessage ?? params.message) as ReturnType<typeof say>)),
    TWENTY,
  );
});

t.test('the client names the chat, and knows it before the first byte of the answer [T-1]', async (t) => {
  for (const stream of [false, true]) {
    const { agent, threads } = await setUp(t);
    const gate = agent.hold('chat.start');
    const answer = answerOf(threads, 'hi', stream);
    const chatId = threads.getThreadId('support');
    t.match(chatId, UUID, 'known as soon as it is sent');
    t.equal((await gate.arrived).chatId, chatId);
    t.strictSame(threads.getAllAgents(), ['support']);
    gate.release();
    await answer;
    t.equal(threads.getThreadId('support'), chatId);
    t.strictSame([...agent.chats.keys()], [chatId]);
  }
});

async function follows(t: Test, stream: boolean, answer?: EventsAnswer): Promise<void> {
  const { agent, threads } = await setUp(t, { agent: { chatIds: 'server' } });
  if (answer !== undefined) agent.script('chat.start', answer);
  await answerOf(threads, 'one', stream);
  const [chatId] = agent.chats.keys();
  t.match(chatId, /^chat-/);
  t.equal(threads.getThreadId('support'), chatId);
  t.equal(threads.threadCount, 1);
  t.match(await answerOf(threads, 'two', stream), /two$/);
  t.match(await threads.endAllChats(), [{ chatId, ok: true }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
}

t.test('an agent that chooses the chat id is followed: in JSON [T-2]', (t) => follows(t, false));
t.test('an agent that chooses the chat id is followed: in every event', (t) => follows(t, true));
t.test('an agent that chooses the chat id is followed: in `done` only', (t) =>
  follows(t, true, { events: [{ data: 'one ' }, { data: 'piece after the other' }], done: true }),
);
t.test('an agent that chooses the chat id is followed: a stream although JSON was requested', (t) =>
  follows(t, false, { events: [{ data: 'one ' }], done: true }),
);

t.test('an agent that chooses the chat id is followed at the first event [F-106] [T-2]', async (t) => {
  const { agent, threads } = await setUp(t, { agent: { chatIds: 'server' }, busy: 'parallel' });
  let release = (): void => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  agent.script('chat.start', async function* reply() {
    yield 'first';
    await released;
    yield 'second';
  });
  const stream = await threads.sendToAgent({ agentId: 'support', message: say('one'), stream: true });
  const waiting = answerOf(threads, 'two', false);
  await stream.next();
  const [chatId] = agent.chats.keys();
  t.equal(threads.getThreadId('support'), chatId);
  t.equal(stream.chatId, chatId);
  await waiting;
  t.match(requestsOf(agent, 'chat.message'), [{ chatId }], 'what waited continues in the chat of that name');
  release();
  t.equal((await readAll(stream)).names.at(-1), 'done');
});

t.test('a chat.start that is refused leaves no thread, and causes no chat.end [T-17]', async (t) => {
  const refusals = [-32_700, -32_601, -41_001, -41_004, -41_005, -44_001, -44_003, -44_007, -45_001, -45_002, -45_003];
  for (const code of refusals) {
    const { agent, threads, ended } = await setUp(t);
    agent.script('chat.start', { error: { code } });
    await t.rejects(threads.sendToAgent({ agentId: 'support', message: say('hi') }), { code });
    t.equal(threads.hasThread('support'), false);
    t.strictSame(await threads.endAllChats(), []);
    t.strictSame(methods(agent), ['chat.start'], `${code}`);
    t.strictSame(ended, []);
  }
});

t.test('the agent’s own -41001 and -44001 cause no chat.end either', async (t) => {
  const { agent, threads } = await setUp(t, { agent: { agents: ['known'] } });
  await t.rejects(threads.sendToAgent({ agentId: 'unknown', message: say('hi') }), { code: -41_001, fromAgent: true });
  const locked = await setUp(t, { agent: { token: 'secret' } });
  await t.rejects(locked.threads.sendToAgent({ agentId: 'support', message: say('hi') }), { code: -44_001 });
  await Promise.all([threads.endAllChats(), locked.threads.endAllChats()]);
  t.strictSame([...methods(agent), ...methods(locked.agent)], ['chat.start', 'chat.start']);
});

t.test('a refused connection leaves no thread, and causes no chat.end [T-17]', async (t) => {
  const { agent, threads, log, ended } = await setUp(t);
  await agent.close();
  await t.rejects(threads.sendToAgent({ agentId: 'support', message: say('hi') }), {
    code: -41_003,
    message: /refused/,
  });
  t.equal(threads.hasThread('support'), false);
  t.strictSame(await threads.endAllChats(), []);
  t.strictSame([log, ended], [[], []], 'nothing was to be ended');
});

t.test('a token that cannot be had leaves no thread, and causes no chat.end', async (t) => {
  const token = (): string => {
    throw new Error('no token today');
  };
  const { agent, threads, ended } = await setUp(t, { token });
  await t.rejects(threads.sendToAgent({ agentId: 'support', message: say('hi') }), { code: -44_001 });
  t.strictSame([threads.threadCount, agent.counters.requests, ended.length], [0, 0, 0]);
});

t.test('a failed start does not affect the next send', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', faults.html(404));
  await t.rejects(threads.sendToAgent({ agentId: 'support', message: say('one') }), { code: -41_003, status: 404 });
  t.strictSame(methods(agent), ['chat.start'], 'a page that is no agent’s has no chat');
  t.equal(saidIn(await threads.sendToAgent({ agentId: 'support', message: say('two') })), 'support #1: two');
});

t.test('[F-516] a thread that is ended in the hook onStart is not begun', async (t) => {
  let end: (() => void) | undefined;
  const { agent, threads, log } = await setUp(t, { hooks: { onStart: () => end?.() } });
  const message = { agentId: 'support', message: say('hi') };
  for (const ending of [() => threads.endChat('support'), () => threads.endAllChats()]) {
    const ended: Promise<unknown>[] = [];
    end = () => void ended.push(ending());
    await t.rejects(threads.sendToAgent(message), { name: 'AbortError' });
    await Promise.all(ended);
    t.strictSame(methods(agent), [], 'the agent hears nothing of it');
  }
  end = undefined;
  await threads.sendToAgent(message);
  agent.forget();
  end = () => void threads.endAllChats();
  await t.rejects(threads.sendToAgent(message), { name: 'AbortError' });
  end = undefined;
  t.strictSame(methods(agent), ['chat.start', 'chat.message'], 'nor of the chat in place of a lost one');
  t.equal(saidIn(await threads.sendToAgent(message)), 'support #1: hi');
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.equal(agent.counters.open, 0);
  t.strictSame(log, []);
});
