import t from 'tap';
import { ArcClient } from '../../src/client/arc-client.js';
import { ChatNotFoundError } from '../../src/protocol/errors.js';
import { faults } from '../../src/testing/index.js';
import type { SendOptions, ThreadManagerOptions } from '../../src/threads/options.js';
import type { ThreadEntry, ThreadStore } from '../../src/threads/store.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { methods, readAll, requestsOf, saidIn, say, settled, setUp, UUID } from './helpers.js';

const to = (agentId: string, text: string, more: Partial<SendOptions> = {}): SendOptions => ({
  agentId,
  message: say(text),
  ...more,
});

t.test('the first message starts a chat, the second continues it', async (t) => {
  const { agent, threads } = await setUp(t);
  const message = { role: 'user', parts: [{ type: 'text', content: 'Help needed' }] };
  const first = await threads.sendToAgent({ agentId: 'support-agent', message, traceId: 'trace-123' });
  t.equal(saidIn(first), 'support-agent #1: Help needed');
  const second = await threads.sendToAgent(to('support-agent', 'More info'));
  t.equal(saidIn(second), 'support-agent #2: More info');
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
  const [start, next] = agent.requests;
  t.match(start, { agentId: 'support-agent', traceId: 'trace-123', params: { initialMessage: message } });
  t.strictSame(start?.params.initialMessage, message, 'the message is passed on as it is');
  t.match(next, { chatId: first.result.chat.chatId, traceId: undefined, params: { message: say('More info') } });
  t.equal(second.result.chat.chatId, first.result.chat.chatId);
  t.notOk(first.restarted || second.restarted);
});

t.test('getThreadId and hasThread know the chat with an agent', async (t) => {
  const { threads } = await setUp(t);
  t.equal(threads.getThreadId('support-agent'), undefined);
  t.equal(threads.hasThread('support-agent'), false);
  const { result } = await threads.sendToAgent(to('support-agent', 'hi'));
  t.match(threads.getThreadId('support-agent'), UUID);
  t.equal(threads.getThreadId('support-agent'), result.chat.chatId);
  t.equal(threads.hasThread('support-agent'), true);
  t.equal(threads.hasThread('other'), false);
});

t.test('endChat ends one chat, sends the reason, and forgets the thread', async (t) => {
  const { agent, threads, ended } = await setUp(t);
  await threads.sendToAgent(to('support-agent', 'hi'));
  await threads.sendToAgent(to('other', 'hi'));
  const chatId = threads.getThreadId('support-agent');
  const response = await threads.endChat('support-agent', { reason: 'Issue resolved', traceId: 'trace-9' });
  t.match(response?.result, { type: 'chat', chat: { chatId, status: 'CLOSED', reason: 'Issue resolved' } });
  t.match(requestsOf(agent, 'chat.end'), [{ agentId: 'support-agent', chatId, traceId: 'trace-9' }]);
  t.strictSame(threads.getAllAgents(), ['other']);
  t.match(ended, [{ agentId: 'support-agent', contextId: undefined, chatId, ok: true }]);
  await threads.sendToAgent(to('support-agent', 'again'));
  t.not(threads.getThreadId('support-agent'), chatId, 'the next send starts a new chat');
});

t.test('endChat of an agent without a thread resolves to undefined, and sends nothing', async (t) => {
  const { agent, threads } = await setUp(t);
  t.equal(await threads.endChat('support-agent'), undefined);
  t.equal(agent.counters.requests, 0);
});

for (const name of ['endAllChats', 'cleanupAll'] as const) {
  t.test(`${name} ends all chats, and gives one outcome for each`, async (t) => {
    const { agent, threads } = await setUp(t);
    await threads.sendToAgent(to('support', 'hi'));
    await threads.sendToAgent(to('finance', 'hi'));
    await threads.sendToAgent(to('finance', 'hi', { contextId: 'second' }));
    const ids = [
      threads.getThreadId('support'),
      threads.getThreadId('finance'),
      threads.getThreadId('finance', 'second'),
    ];
    const outcomes = await threads[name]({ reason: 'disconnected' });
    t.match(outcomes, [
      { agentId: 'support', contextId: undefined, chatId: ids[0], ok: true },
      { agentId: 'finance', contextId: undefined, chatId: ids[1], ok: true },
      { agentId: 'finance', contextId: 'second', chatId: ids[2], ok: true },
    ]);
    t.strictSame(
      outcomes.map(({ error }) => error),
      [undefined, undefined, undefined],
    );
    t.match(agent.counters, { started: 3, ended: 3, open: 0 });
    t.match(
      requestsOf(agent, 'chat.end').map(({ params }) => params.reason),
      Array(3).fill('disconnected'),
    );
    t.equal(threads.threadCount, 0);
    t.strictSame(threads.getAllAgents(), []);
  });
}

t.test('endAllChats without a thread gives an empty list', async (t) => {
  const { agent, threads } = await setUp(t);
  t.strictSame(await threads.endAllChats(), []);
  t.equal(agent.counters.requests, 0);
});

t.test('getAllAgents names each agent once, threadCount counts the threads', async (t) => {
  const { threads } = await setUp(t);
  t.strictSame(threads.getAllAgents(), []);
  for (const agentId of ['support', 'finance', 'hr']) await threads.sendToAgent(to(agentId, 'hi'));
  await threads.sendToAgent(to('hr', 'hi', { contextId: 'other' }));
  t.strictSame(threads.getAllAgents(), ['support', 'finance', 'hr']);
  t.equal(threads.threadCount, 4);
});

t.test('storeThreadId takes over a chat: the next send is a chat.message in it', async (t) => {
  const { agent, client, threads } = await setUp(t);
  await client.chat.start({ targetAgent: 'support', chatId: 'made-elsewhere', initialMessage: say('one') });
  threads.storeThreadId('support', 'made-elsewhere');
  t.equal(threads.getThreadId('support'), 'made-elsewhere');
  t.equal(saidIn(await threads.sendToAgent(to('support', 'two'))), 'support #2: two');
  t.match(await threads.endAllChats(), [{ chatId: 'made-elsewhere', ok: true }]);
  t.equal(agent.counters.open, 0);
});

t.test('removeThreadId forgets a thread, gives its id, and leaves the chat open', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(to('support', 'hi'));
  await threads.sendToAgent(to('support', 'hi', { contextId: 'c' }));
  const chatId = threads.getThreadId('support');
  t.equal(threads.removeThreadId('support'), chatId);
  t.equal(threads.removeThreadId('support'), undefined);
  t.equal(threads.hasThread('support'), false);
  t.equal(threads.hasThread('support', 'c'), true, 'the other context is another thread');
  t.equal(agent.counters.open, 2);
});

t.test('clear forgets all threads, and leaves their chats open', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(to('support', 'hi'));
  await threads.sendToAgent(to('finance', 'hi'));
  threads.clear();
  t.equal(threads.threadCount, 0);
  t.strictSame(await threads.endAllChats(), []);
  t.equal(agent.counters.open, 2);
});

t.test('contexts of one agent are threads of their own, and cannot be confused with another agent', async (t) => {
  const { agent, threads } = await setUp(t);
  const pairs: [string, string | undefined][] = [
    ['a', undefined],
    ['a', ''],
    ['a', 'b'],
    ['b:a', undefined],
    [':a', undefined],
    ['0::a', undefined],
    ['1:b:a', undefined],
    ['b:c', 'a'],
    ['c', 'a:b'],
  ];
  for (const [agentId, contextId] of pairs) await threads.sendToAgent(to(agentId, 'hi', { contextId }));
  t.equal(threads.threadCount, pairs.length);
  t.equal(new Set(pairs.map(([agentId, contextId]) => threads.getThreadId(agentId, contextId))).size, pairs.length);
  t.equal(agent.counters.started, pairs.length);
  await threads.endChat('a', { contextId: 'b' });
  t.equal(threads.hasThread('a', 'b'), false);
  t.equal(threads.threadCount, pairs.length - 1);
});

t.test('metadata goes into chat.start and nowhere else [F-74]', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(to('support', 'one', { metadata: { tier: 'gold' } }));
  await threads.sendToAgent(to('support', 'two', { metadata: { tier: 'gold' } }));
  t.strictSame(agent.requests[0]?.params.metadata, { tier: 'gold' });
  t.notOk('metadata' in (agent.requests[1]?.params ?? {}));
  t.strictSame(Object.keys(agent.requests[1]?.params ?? {}).sort(), ['chatId', 'message'], 'and nothing else is added');
});

t.test('timeout is that of the send', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(to('support', 'one'));
  const gate = agent.hold('chat.message');
  await t.rejects(threads.sendToAgent(to('support', 'two', { timeout: 30 })), { code: -41_006 });
  gate.release();
  t.equal(threads.hasThread('support'), true, 'a message that times out costs the answer, not the thread');
});

t.test('an answer that is requested as a stream arrives as a stream', async (t) => {
  const { agent, threads } = await setUp(t);
  const stream = await threads.sendToAgent({ ...to('support', 'one two'), stream: true });
  t.equal(stream.chatId, threads.getThreadId('support'));
  const names = Array(4).fill('content').concat('done');
  t.strictSame(await readAll(stream), { text: 'support #1: one two', names, restarted: false });
  t.match(agent.requests, [{ method: 'chat.start', params: { stream: true } }]);
  t.equal(stream.restarted, false);
});

t.test('`await using` ends all chats at the end of the block', async (t) => {
  const { agent, client } = await setUp(t);
  {
    await using threads = new ThreadManager(client);
    await threads.sendToAgent(to('support', 'hi'));
    t.equal(agent.counters.open, 1);
  }
  t.equal(agent.counters.open, 0);
});

t.test('a token of the manager’s own takes the place of the client’s, for chat.end too', async (t) => {
  let tokens = 0;
  const { agent, threads } = await setUp(t, {
    agent: { token: (token) => token === 'mine-2' },
    client: { token: 'theirs' },
    token: () => `mine-${++tokens}`,
  });
  await threads.sendToAgent(to('support', 'hi'));
  await threads.endAllChats();
  t.strictSame(
    agent.requests.map(({ headers }) => headers.authorization),
    ['Bearer mine-1', 'Bearer mine-2', 'Bearer mine-2'],
    'a refused token is requested again',
  );
});

t.test('each manager has tokens of its own', async (t) => {
  const { agent, client } = await setUp(t, { agent: { token: (token) => token?.startsWith('user-') ?? false } });
  const one = new ThreadManager(client, { token: 'user-1' });
  const two = new ThreadManager(client, { token: async () => 'user-2' });
  await one.sendToAgent(to('support', 'hi'));
  await two.sendToAgent(to('support', 'hi'));
  await Promise.all([one.endAllChats(), two.endAllChats()]);
  const sent = agent.requests.map(({ method, headers }) => `${method} ${headers.authorization}`).sort();
  t.strictSame(sent, [
    'chat.end Bearer user-1',
    'chat.end Bearer user-2',
    'chat.start Bearer user-1',
    'chat.start Bearer user-2',
  ]);
});

t.test('threads are kept in the store that is given', async (t) => {
  const store = new Map<string, ThreadEntry>();
  const { agent, client, threads } = await setUp(t, { store });
  await threads.sendToAgent(to('support', 'hi', { contextId: 'c' }));
  t.strictSame(
    [...store.values()].map(({ agentId, contextId, chatId }) => ({ agentId, contextId, chatId })),
    [{ agentId: 'support', contextId: 'c', chatId: threads.getThreadId('support', 'c') }],
  );
  const later = new ThreadManager(client, { store });
  t.equal(saidIn(await later.sendToAgent(to('support', 'again', { contextId: 'c' }))), 'support #2: again');
  await later.endAllChats();
  t.equal(store.size, 0);
  t.equal(agent.counters.open, 0);
});

/** A store that keeps its threads outside of the process would: as text, so that no object is ever the same. */
class TextStore implements ThreadStore {
  readonly #texts = new Map<string, string>();
  get(key: string): ThreadEntry | undefined {
    const text = this.#texts.get(key);
    return text === undefined ? undefined : (JSON.parse(text) as ThreadEntry);
  }
  set(key: string, entry: ThreadEntry): void {
    this.#texts.set(key, JSON.stringify(entry));
  }
  delete(key: string): void {
    this.#texts.delete(key);
  }
  *values(): Generator<ThreadEntry> {
    for (const text of this.#texts.values()) yield JSON.parse(text) as ThreadEntry;
  }
  clear(): void {
    this.#texts.clear();
  }
  get size(): number {
    return this.#texts.size;
  }
}

t.test(
  'a store may give copies: a chat that the agent names is followed, and no start in flight is lost',
  async (t) => {
    const { agent, threads } = await setUp(t, { agent: { chatIds: 'server' }, store: new TextStore() });
    await threads.sendToAgent(to('support', 'one'));
    t.equal(saidIn(await threads.sendToAgent(to('support', 'two'))), 'support #2: two');
    t.match(threads.getThreadId('support'), /^chat-/);
    const gate = agent.hold('chat.start');
    const sent = settled(threads.sendToAgent(to('finance', 'one')));
    await gate.arrived;
    const ending = threads.endAllChats();
    gate.release();
    t.match(await ending, [
      { agentId: 'support', ok: true },
      { agentId: 'finance', chatId: /^chat-/, ok: true },
    ]);
    t.match((await sent).error, { name: 'AbortError' });
    t.equal(agent.counters.open, 0);
  },
);

t.test('a store that gives copies keeps that a start was cancelled during its stream', async (t) => {
  const { agent, threads } = await setUp(t, { store: new TextStore(), cleanupTimeout: 2000 });
  agent.script('chat.start', faults.stall({ data: 'one' }));
  // The agent streams, but has the chat only later.
  agent.script('chat.end', { error: { code: -43_001 } });
  const stream = await threads.sendToAgent({ ...to('support', 'one two'), stream: true });
  await stream.next();
  stream.cancel();
  t.match(await threads.endAllChats(), [{ ok: true, response: { result: { chat: { status: 'CLOSED' } } } }]);
  t.equal(agent.counters.open, 0);
});

t.test('hooks are called for starts, restarts and ends', async (t) => {
  const { agent, threads, started, restarted, ended } = await setUp(t);
  await threads.sendToAgent(to('support', 'one', { contextId: 'c' }));
  agent.forget();
  await threads.sendToAgent(to('support', 'two', { contextId: 'c' }));
  await threads.endAllChats();
  const [first, second] = requestsOf(agent, 'chat.start').map(({ chatId }) => chatId);
  const thread = { agentId: 'support', contextId: 'c' };
  t.match(started, [
    { ...thread, chatId: first },
    { ...thread, chatId: second },
  ]);
  t.match(restarted, [{ ...thread, chatId: second }]);
  t.match(ended, [{ ...thread, chatId: second, ok: true }]);
  t.equal(started.length + restarted.length + ended.length, 4);
});

t.test('hooks that throw are logged, and change nothing', async (t) => {
  const fail = (): never => {
    throw new Error('a bad hook');
  };
  const { agent, threads, log } = await setUp(t, { hooks: { onStart: fail, onRestart: fail, onEnd: fail } });
  await threads.sendToAgent(to('support', 'one'));
  agent.forget();
  t.equal((await threads.sendToAgent(to('support', 'two'))).restarted, true);
  t.match(await threads.endAllChats(), [{ ok: true }]);
  t.match(
    log.map(({ message }) => message),
    [/onStart/, /onStart/, /onRestart/, /onEnd/],
  );
  t.match(log[0]?.about, { err: { message: 'a bad hook' } });
});

t.test('an option that is wrong is named', async (t) => {
  const { client } = await setUp(t);
  t.throws(() => new ThreadManager({} as ArcClient), new TypeError('client: must be an ArcClient'));
  const wrong: [object | null, RegExp][] = [
    [{ store: {} }, /^store: /],
    [{ store: 7 }, /^store: /],
    [{ store: null }, /^store: /],
    [{ busy: 'wait' }, /^busy: must be one of queue, parallel, reject, interrupt$/],
    [{ token: 7 }, /^token: /],
    [{ cleanupTimeout: '5s' }, /^cleanupTimeout: /],
    [{ cleanupTimeout: '5' }, /^cleanupTimeout: /],
    [{ cleanupTimeout: -1 }, /^cleanupTimeout: /],
    [{ cleanupTimeout: Number.NaN }, /^cleanupTimeout: /],
    [{ cleanupTimeout: Number.POSITIVE_INFINITY }, /^cleanupTimeout: /],
    [{ logger: {} }, /^logger: /],
    [{ logger: null }, /^logger: /],
    [{ hooks: null }, /^hooks: /],
    [{ hooks: { onEnd: true } }, /^hooks: /],
    [null, /^options: /],
  ];
  for (const [options, message] of wrong) {
    const make = (): ThreadManager => new ThreadManager(client, options as ThreadManagerOptions);
    t.throws(make, { name: 'TypeError', message }, String(JSON.stringify(options)));
  }
});

t.test('an argument that is wrong is named, and nothing is sent', async (t) => {
  const { agent, threads } = await setUp(t);
  const message = say('hi');
  const wrong: [unknown, RegExp][] = [
    [undefined, /^options: /],
    [{ message }, /^agentId: /],
    [{ agentId: '', message }, /^agentId: /],
    [{ agentId: 7, message }, /^agentId: /],
    [{ agentId: 'support' }, /^message: /],
    [{ agentId: 'support', message: 'hi' }, /^message: /],
    [{ agentId: 'support', message: [] }, /^message: /],
    [{ agentId: 'support', message: null }, /^message: /],
    [{ agentId: 'support', message, contextId: 7 }, /^contextId: /],
    [{ agentId: 'support', message, traceId: 7 }, /^traceId: /],
    [{ agentId: 'support', message, metadata: 'x' }, /^metadata: /],
    [{ agentId: 'support', message, stream: 'yes' }, /^stream: /],
    [{ agentId: 'support', message, timeout: '5' }, /^timeout: /],
    [{ agentId: 'support', message, timeout: Number.NaN }, /^timeout: /],
    [{ agentId: 'support', message, timeout: Number.POSITIVE_INFINITY }, /^timeout: /],
    [{ agentId: 'support', message, streamIdleTimeout: -1 }, /^streamIdleTimeout: /],
    [{ agentId: 'support', message, signal: new AbortController() }, /^signal: /],
  ];
  for (const [options, wanted] of wrong) {
    const { error } = await settled(threads.sendToAgent(options as SendOptions));
    t.match(error, { name: 'TypeError', message: wanted }, JSON.stringify(options));
  }
  await t.rejects(threads.endChat('' as string), { name: 'TypeError', message: /^agentId: / });
  const traceId = 7 as unknown as string;
  await t.rejects(threads.endChat('a', { traceId }), { name: 'TypeError', message: /^traceId: / });
  await t.rejects(threads.endAllChats({ timeout: Number.NaN }), { name: 'TypeError', message: /^timeout: / });
  t.throws(() => threads.storeThreadId('', 'x'), { name: 'TypeError', message: /^agentId: / });
  t.throws(() => threads.storeThreadId('support', ''), { name: 'TypeError', message: /^chatId: / });
  t.throws(() => threads.storeThreadId('support', 'x', 7 as unknown as string), { message: /^contextId: / });
  t.equal(threads.threadCount, 0);
  t.equal(agent.counters.requests, 0);
});

t.test('a message that cannot be written as JSON costs its send, and leaves no thread', async (t) => {
  const { agent, threads } = await setUp(t);
  const parts = [{ type: 'data', content: 1n }];
  await t.rejects(threads.sendToAgent({ agentId: 'support', message: { role: 'user', parts } }), { code: -32_600 });
  t.equal(threads.hasThread('support'), false);
  t.equal(agent.counters.requests, 0);
});

t.test('an agent’s error rejects the send with its class, code and details, and keeps the thread', async (t) => {
  const { agent, threads } = await setUp(t);
  await threads.sendToAgent(to('support', 'hi'));
  agent.script('chat.message', { error: { code: -43_005, message: 'no', details: { a: 1 } } });
  await t.rejects(threads.sendToAgent(to('support', 'hi')), { code: -43_005, message: 'no', details: { a: 1 } });
  t.equal(saidIn(await threads.sendToAgent(to('support', 'hi'))), 'support #2: hi');
  t.notOk((await settled(threads.sendToAgent(to('support', 'x')))).error instanceof ChatNotFoundError);
});

t.test('an agent without an endpoint has no thread', async (t) => {
  const { agent } = await setUp(t);
  const client = new ArcClient({ endpoint: (agentId) => (agentId === 'here' ? agent.endpoint : undefined) });
  t.teardown(() => client.close());
  const threads = new ThreadManager(client);
  await t.rejects(threads.sendToAgent(to('nowhere', 'hi')), { code: -41_001 });
  await threads.sendToAgent(to('here', 'hi'));
  t.strictSame(threads.getAllAgents(), ['here']);
});
