import t from 'tap';
import type { AgentEvent } from '../../src/testing/index.js';
import { dispatch, methods, readAll, requestsOf, saidIn, say, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

/** Events that are the agent's own, or about its answer: whatever chat id they carry is somebody else's text. */
const FOREIGN: Record<string, AgentEvent> = {
  metadata: { event: 'metadata', data: { chatId: 'other', language: 'en' } },
  'a metadata event with a chat object': { event: 'metadata', data: { chat: { chatId: 'other' } } },
  'a tool result': { event: 'tool_result', data: { chatId: 'other', rows: [] } },
  'a tool result with an envelope': { event: 'tool_result', data: { result: { chat: { chatId: 'other' } } } },
  progress: { event: 'progress', data: { chatId: 'other' } },
};

for (const [name, foreign] of Object.entries(FOREIGN)) {
  t.test(`a chat id in ${name} never re-targets a thread [F-230] [T-50]`, async (t) => {
    for (const chatIds of ['client', 'server'] as const) {
      const { agent, threads } = await setUp(t, { agent: { chatIds } });
      agent.script('chat.start', { reply: [foreign, 'one ', foreign, 'two', foreign, { event: 'done', data: {} }] });
      const stream = await threads.sendToAgent({ ...hello, stream: true });
      const chatIdsSeen = new Set<string | undefined>();
      for await (const { chatId } of stream) {
        chatIdsSeen.add(chatId);
        t.not(stream.chatId, 'other');
      }
      t.notOk(chatIdsSeen.has('other'), 'the event does not claim to belong to that chat');
      const [own] = agent.chats.keys();
      t.equal(threads.getThreadId('support'), own);
      t.equal(stream.chatId, own);
      await threads.sendToAgent(hello);
      t.match(requestsOf(agent, 'chat.message'), [{ chatId: own }]);
      t.match(await threads.endAllChats(), [{ chatId: own, ok: true }]);
      t.match(agent.counters, { started: 1, ended: 1, open: 0 });
    }
  });
}

t.test('a stream that answers a plain send is not re-targeted either', async (t) => {
  const { agent, threads } = await setUp(t);
  const foreign = { event: 'metadata', data: { chatId: 'other' } };
  agent.script('chat.start', { events: [{ data: 'hi' }, foreign, { event: 'done', data: {} }] });
  const before = threads.sendToAgent(hello);
  const own = threads.getThreadId('support');
  t.equal(saidIn(await before), 'hi');
  t.equal(threads.getThreadId('support'), own);
});

t.test('an error event names no chat', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', {
    events: [{ data: { chatId: 'mine', message: say('hi') } }, { event: 'error', data: { chatId: 'other', code: -1 } }],
  });
  const stream = await threads.sendToAgent({ ...hello, stream: true });
  await readAll(stream);
  t.equal(threads.getThreadId('support'), 'mine');
  t.equal(stream.chatId, 'mine');
});

t.test(
  'after the first answer a thread keeps its chat, and the other name is logged once [F-231] [T-51]',
  async (t) => {
    const { agent, threads, warnings } = await setUp(t);
    await threads.sendToAgent(hello);
    const own = threads.getThreadId('support');
    const named = { chatId: 'other', message: { role: 'agent', parts: [{ type: 'text', content: 'hi' }] } };
    const envelope = { arc: '1.0', id: 1, responseAgent: 'a', targetAgent: 'b', result: { type: 'chat', chat: named } };
    agent.script(
      'chat.message',
      { events: [{ data: named }, { event: 'done', data: { chatId: 'another' } }] },
      { status: 200, body: JSON.stringify(envelope) },
    );
    const stream = await threads.sendToAgent({ ...hello, stream: true });
    await readAll(stream);
    t.equal(stream.chatId, own);
    t.equal(saidIn(await threads.sendToAgent(hello)), 'hi');
    t.equal(threads.getThreadId('support'), own);
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #3: hello', 'the chat continues');
    t.strictSame(new Set(requestsOf(agent, 'chat.message').map(({ chatId }) => chatId)), new Set([own]));
    t.match(warnings, [{ about: { agentId: 'support', chatId: own, named: 'other' } }]);
    t.equal(warnings.length, 1, 'once a thread');
    t.match(await threads.endAllChats(), [{ chatId: own, ok: true }]);
    t.equal(requestsOf(agent, 'chat.end').length, 1, 'the other name is not ended');
  },
);

t.test('a chat that was taken over from elsewhere keeps its id', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(hello);
  const own = threads.getThreadId('support') as string;
  threads.removeThreadId('support');
  threads.storeThreadId('support', own);
  agent.script('chat.message', { events: [{ data: { chatId: 'other', message: say('hi') } }] });
  await readAll(await threads.sendToAgent({ ...hello, stream: true }));
  t.equal(threads.getThreadId('support'), own);
});

t.test('if the chat id changes within the first answer, both chats are ended [F-232] [T-52]', async (t) => {
  for (const last of ['done', 'cancel', 'end', 'error'] as const) {
    const { agent, threads, warnings } = await setUp(t, { cleanupTimeout: 300 });
    agent.script('chat.start', {
      events: [
        { data: { chatId: 'first', message: say('a') } },
        { data: { chatId: 'second', message: say('b') } },
        ...(last === 'error' ? [{ event: 'error', data: { code: -1 } }] : []),
        ...(last === 'done' ? [{ event: 'done', data: {} }] : []),
      ],
      ...(last === 'cancel' || last === 'end' ? { finish: 'stall' as const } : {}),
    });
    const { listener, send } = dispatch(threads, { stream: true });
    await listener.times('content', 2);
    t.equal(threads.getThreadId('support'), 'second', 'the later name counts');
    if (last === 'cancel') send.cancel();
    if (last === 'end') await threads.endChat('support');
    await listener.ended;
    await threads.endAllChats();
    const ends = requestsOf(agent, 'chat.end').map(({ chatId }) => chatId);
    t.strictSame([...new Set(ends)].sort(), ['first', 'second'], last);
    t.match(warnings, [{ about: { agentId: 'support', chatId: 'first', named: 'second' } }], last);
  }
});

t.test('a chat id of more than 1,024 characters counts as none, in a stream and in a response [F-502]', async (t) => {
  for (const length of [1024, 1025]) {
    const chatId = 'x'.repeat(length);
    const chat = { chatId, message: say('hi') };
    const envelope = { arc: '1.0', id: 1, responseAgent: 'a', targetAgent: 'b', result: { type: 'chat', chat } };
    for (const stream of [true, false]) {
      const { agent, threads } = await setUp(t, { cleanupTimeout: 300 });
      agent.script(
        'chat.start',
        stream
          ? { events: [{ data: chat }, { event: 'done', data: {} }] }
          : { status: 200, body: JSON.stringify(envelope) },
      );
      const { listener } = dispatch(threads, { stream });
      await listener.ended;
      t.equal(threads.getThreadId('support') === chatId, length === 1024, `${length}`);
      await threads.endAllChats();
    }
  }
});

t.test('a first answer that returns to its first name ends no other chat', async (t) => {
  const { agent, threads } = await setUp(t);
  agent.script('chat.start', {
    events: [
      { data: { chatId: 'first', message: say('a') } },
      { data: { chatId: 'echoed', message: say('b') } },
      { event: 'done', data: { chatId: 'first' } },
    ],
  });
  await readAll(await threads.sendToAgent({ ...hello, stream: true }));
  t.equal(threads.getThreadId('support'), 'first');
  await threads.endAllChats();
  t.strictSame(methods(agent), ['chat.start', 'chat.end']);
});
