import t from 'tap';
import { AgentNotAvailableError, arcError } from '../../src/protocol/errors.js';
import { type Dialect, dialects } from '../../src/testing/index.js';
import { isLostChat } from '../../src/threads/chat-errors.js';
import { dispatch, methods, readAll, requestsOf, saidIn, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

const LOST: Record<string, Dialect> = {
  "the SDK's ARCServer": dialects.sdkServer,
  "the SDK's router": dialects.sdkRouter,
  '-32602, closed': { lostChat: { code: -32_602, message: (id) => `params.chatId: chat "${id}" is closed` } },
  '-32603, expired': { lostChat: { code: -32_603, status: 500, message: (id) => `Session ${id} has EXPIRED.` } },
  'an event': { lostChat: { code: -32_603, as: 'event', message: (id) => `Internal error: Chat not found: ${id}` } },
};

for (const [name, dialect] of Object.entries(LOST)) {
  t.test(`a lost chat is recognised by a text that names it: ${name} [F-233] [T-58]`, async (t) => {
    for (const stream of [false, true]) {
      const { agent, threads, log } = await setUp(t, { agent: dialect });
      await threads.sendToAgent(hello);
      agent.forget();
      if (stream) t.match(await readAll(await threads.sendToAgent({ ...hello, stream })), { restarted: true });
      else t.equal((await threads.sendToAgent(hello)).restarted, true);
      t.strictSame(methods(agent), ['chat.start', 'chat.message', 'chat.start']);
      agent.forget();
      t.equal(await threads.endChat('support'), undefined, 'it counts as ended');
      t.equal(requestsOf(agent, 'chat.end').length, 1, 'chat.end is not repeated');
      await threads.sendToAgent(hello);
      agent.forget();
      t.match(await threads.endAllChats(), [{ ok: true, failures: 0 }]);
      t.strictSame(log, [], 'and no orphan is logged');
    }
  });
}

const NOT_LOST: Record<string, (chatId: string) => { code: number; message: string }> = {
  'a text that names no chat': () => ({ code: -32_603, message: 'Internal error: Chat not found' }),
  'a text that names another chat': () => ({ code: -32_603, message: 'Chat not found: 0f7e' }),
  'a longer id': (id) => ({ code: -32_603, message: `Chat not found: ${id}0` }),
  'a text that says nothing of the chat': (id) => ({ code: -32_603, message: `No credit left in ${id}` }),
  'another code': (id) => ({ code: -50_001, message: `Chat not found: ${id}` }),
  'a code that is about the caller': (id) => ({ code: -44_002, message: `Chat not found: ${id}` }),
};

for (const [name, errorOf] of Object.entries(NOT_LOST)) {
  t.test(`nothing less means a lost chat: ${name} [F-233] [T-58]`, async (t) => {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(hello);
    const chatId = threads.getThreadId('support') as string;
    agent.script('chat.message', { error: errorOf(chatId) });
    await t.rejects(threads.sendToAgent(hello), { code: errorOf(chatId).code });
    t.equal(threads.getThreadId('support'), chatId);
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello');
  });
}

const MAY_HAVE_STARTED = [-32_600, -32_602, -32_603, -41_002, -41_003, -41_006, -42_004, -43_005, -45_004, -50_007];

t.test('a chat.start that made its chat and then failed is ended, whatever its code [T-59]', async (t) => {
  for (const code of MAY_HAVE_STARTED) {
    for (const stream of [false, true]) {
      const { agent, threads, log } = await setUp(t);
      agent.script('chat.start', async function* reply() {
        yield { event: 'error', data: { code, message: 'busy' } };
      });
      const { listener } = dispatch(threads, { stream });
      t.equal(await listener.ended, 'error');
      t.equal(threads.hasThread('support'), false);
      await threads.endAllChats();
      t.match(agent.counters, { started: 1, ended: 1, open: 0 }, `${code}`);
      t.strictSame(log, []);
    }
  }
});

t.test('the chat of a chat.start that fails with −41002 in an envelope is ended, too', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', () => {
    throw new AgentNotAvailableError('All workers are busy');
  });
  await t.rejects(threads.sendToAgent(hello), { code: -41_002 });
  await threads.endAllChats();
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('each message of a stateless agent is a chat.start, and there is nothing to end [F-234] [T-60]', async (t) => {
  for (const stream of [false, true]) {
    const { agent, threads, log, restarted } = await setUp(t, { agent: dialects.stateless });
    for (const text of ['one', 'two', 'three']) {
      const { listener, send } = dispatch(threads, { message: say(text), stream, metadata: { text } });
      t.match(await listener.ended, stream ? 'done' : 'response');
      t.equal(send.restarted, false, 'no context was lost, because there was none');
    }
    t.strictSame(methods(agent), ['chat.start', 'chat.message', 'chat.start', 'chat.start']);
    t.match(
      requestsOf(agent, 'chat.start').map(({ params }) => params),
      [{ metadata: { text: 'one' } }, { metadata: { text: 'two' } }, { metadata: { text: 'three' } }],
    );
    t.equal(threads.hasThread('support'), true);
    t.match(await threads.endAllChats(), [{ ok: true, failures: 0 }]);
    t.equal(requestsOf(agent, 'chat.end').length, 0, 'nothing is ended');
    t.strictSame([log, restarted], [[], []]);
  }
});

t.test('a stateless agent that fails keeps its thread, and gets no chat.end', async (t) => {
  const { agent, threads } = await setUp(t, { agent: dialects.stateless });
  await dispatch(threads).listener.ended;
  await dispatch(threads).listener.ended;
  agent.script('chat.start', { error: { code: -32_603 } });
  t.equal(await dispatch(threads).listener.ended, 'error');
  const gate = agent.hold('chat.start');
  const { send, listener } = dispatch(threads);
  await gate.arrived;
  send.cancel();
  t.equal(await listener.ended, 'cancelled');
  gate.release();
  t.equal(await dispatch(threads).listener.ended, 'response');
  await threads.endAllChats();
  t.equal(requestsOf(agent, 'chat.end').length, 0);
  t.equal(requestsOf(agent, 'chat.message').length, 1, 'one request finds out whether it keeps chats');
});

t.test('sends that run side by side find out together that an agent is stateless', async (t) => {
  const { agent, threads } = await setUp(t, { agent: dialects.stateless, busy: 'parallel' });
  await threads.sendToAgent(hello);
  const answers = await Promise.allSettled([1, 2, 3].map(() => threads.sendToAgent(hello)));
  t.ok(answers.every(({ status }) => status === 'fulfilled'));
  t.equal(requestsOf(agent, 'chat.message').length, 3, 'each of them was sent as chat.message first');
});

t.test('parallel: once the first answer has named no chat, what waits is sent side by side [F-401]', async (t) => {
  const { agent, threads } = await setUp(t, { agent: dialects.stateless, busy: 'parallel' });
  const first = agent.hold(({ agentId }) => agentId === 'support');
  const answers = Promise.all([1, 2, 3].map(() => threads.sendToAgent(hello)));
  await first.arrived;
  // What was sent before this would have arrived before it was answered.
  await threads.sendToAgent({ ...hello, agentId: 'other' });
  t.equal(agent.requests.filter(({ agentId }) => agentId === 'support').length, 1);
  const second = agent.hold('chat.message');
  first.release();
  await second.arrived;
  await agent.waitFor(() => requestsOf(agent, 'chat.message').length === 2);
  second.release();
  t.equal((await answers).length, 3);
});

t.test('a stateless agent is recognised even if its first answer breaks off', async (t) => {
  const { agent, threads } = await setUp(t, { agent: dialects.stateless });
  agent.script('chat.start', { events: [{ data: { message: say('so far') } }], finish: 'cut' });
  const { listener } = dispatch(threads, { stream: true });
  t.equal(await listener.ended, 'error');
  t.strictSame(listener.received, ['content', 'error']);
  t.equal(await dispatch(threads).listener.ended, 'response');
  t.strictSame(methods(agent), ['chat.start', 'chat.message', 'chat.start']);
  t.match(await threads.endAllChats(), [{ ok: true }]);
});

t.test('a stateless agent that begins to keep chats has its chat continued, and ended', async (t) => {
  const { agent, threads } = await setUp(t);
  const answer = { arc: '1.0', id: 1, responseAgent: 'a', targetAgent: 'b', result: { type: 'message' } };
  agent.script('chat.start', { status: 200, body: JSON.stringify(answer) });
  agent.script('chat.message', { error: { code: -32_601 } });
  await dispatch(threads).listener.ended;
  t.equal(await dispatch(threads).listener.ended, 'response');
  t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello');
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('-32601 for a message of a chat that the agent has named is an error', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  agent.script('chat.message', { error: { code: -32_601 } });
  await t.rejects(threads.sendToAgent(hello), { code: -32_601 });
  t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello');
});

t.test('chats of an agent without chat.end count as ended, and that is logged once [F-235] [T-61]', async (t) => {
  const { agent, threads, log, infos } = await setUp(t, { agent: dialects.withoutEnd });
  for (let round = 0; round < 3; round++) {
    await threads.sendToAgent(hello);
    await threads.sendToAgent({ ...hello, contextId: 'c' });
    t.match(await threads.endAllChats(), [
      { ok: true, failures: 0 },
      { ok: true, failures: 0 },
    ]);
  }
  await threads.sendToAgent(hello);
  t.equal(await threads.endChat('support'), undefined);
  t.equal(requestsOf(agent, 'chat.end').length, 7, 'each is requested once');
  t.strictSame(log, []);
  t.match(infos, [{ about: { agentId: 'support' }, message: /chat\.end/ }]);
  t.equal(infos.length, 1);
});

t.test('a framework that answers a bare 500 costs the send, and leaves no chat', async (t) => {
  const { agent, threads } = await setUp(t, { agent: dialects.bare500 });
  agent.script('chat.start', () => {
    throw new Error('no such file');
  });
  const { error } = await settled(threads.sendToAgent(hello));
  t.match(error, { code: -41_003, status: 500 });
  await threads.endAllChats();
  t.match(agent.counters, { started: 1, ended: 1, open: 0 });
});

t.test('isLostChat takes the word of the agent alone', async (t) => {
  for (const code of [-32_603, -32_601, -41_003, -42_001, -43_004, -44_001, -50_001]) {
    t.equal(isLostChat(arcError(code, 'x', { fromAgent: true }), 'x'), false, String(code));
  }
  for (const code of [-43_001, -43_002, -43_003, -42_005]) {
    t.equal(isLostChat(arcError(code, 'x', { fromAgent: true })), true, String(code));
    t.equal(isLostChat(arcError(code, 'x')), false, 'not what was found on this side');
  }
  t.equal(isLostChat(new Error('Chat not found: x'), 'x'), false);
  t.equal(
    isLostChat(arcError(-32_603, 'Chat not found: x', { fromAgent: true })),
    false,
    'without an id only the codes',
  );
});
