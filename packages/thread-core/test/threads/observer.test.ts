import t from 'tap';
import type { ChatOutcome } from '../../src/threads/ending.js';
import type { ThreadObserver } from '../../src/threads/observer.js';
import type { ThreadEntry } from '../../src/threads/store.js';
import { dispatch, methods, reached, requestsOf, say, settled, setUp } from './helpers.js';

/** Records its calls. Each chat.start waits until `release` is called, or fails with what `refuse` is given. */
class Recorder implements ThreadObserver {
  readonly starting: ThreadEntry[] = [];
  readonly changed: [ThreadEntry, string][] = [];
  readonly removed: [string, ChatOutcome | undefined][] = [];
  release: () => void = () => {};
  refuse: (error: Error) => void = () => {};
  #waiter: () => void = () => {};

  beforeStart(entry: ThreadEntry): Promise<void> {
    this.starting.push(entry);
    this.#waiter();
    return new Promise((resolve, reject) => {
      this.release = resolve;
      this.refuse = reject;
    });
  }

  onChange(entry: ThreadEntry, previous: string): void {
    this.changed.push([entry, previous]);
  }

  onRemoved({ chatId }: ThreadEntry, outcome: ChatOutcome | undefined): void {
    this.removed.push([chatId, outcome]);
    this.#waiter();
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiter = () => {
        if (condition()) resolve();
      };
      this.#waiter();
    });
  }
}

t.test('a chat.start is sent after beforeStart has been fulfilled, and other sends of the thread wait', async (t) => {
  const observer = new Recorder();
  const { agent, threads } = await setUp(t, { observer });
  const answers = Promise.all([1, 2].map(() => threads.sendToAgent({ agentId: 'support', message: say('hello') })));
  await observer.until(() => observer.starting.length === 1);
  t.equal(observer.starting[0]?.chatId, threads.getThreadId('support'));
  t.strictSame(methods(agent), []);
  observer.release();
  await answers;
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
  t.equal(observer.starting.length, 1, 'a message of an open thread is not delayed');
});

t.test('a beforeStart that is rejected fails the send, and leaves no thread and no request', async (t) => {
  const observer = new Recorder();
  const { agent, threads } = await setUp(t, { observer });
  const failed = settled(threads.sendToAgent({ agentId: 'support', message: say('hello') }));
  await observer.until(() => observer.starting.length === 1);
  observer.refuse(new Error('not stored'));
  t.match((await failed).error, { message: 'not stored' });
  t.equal(threads.hasThread('support'), false);
  t.strictSame(observer.removed, [[observer.starting[0]?.chatId, undefined]]);
  const again = threads.sendToAgent({ agentId: 'support', message: say('hello') });
  await observer.until(() => observer.starting.length === 2);
  observer.release();
  await again;
  t.strictSame(methods(agent), ['chat.start']);
});

t.test('a beforeStart that throws fails the send in the same way', async (t) => {
  const observer: ThreadObserver = {
    beforeStart: () => {
      throw new Error('a bug');
    },
  };
  const { agent, threads } = await setUp(t, { observer });
  t.match(await settled(threads.sendToAgent({ agentId: 'support', message: say('hello') })), {
    error: { message: 'a bug' },
  });
  t.equal(threads.threadCount, 0);
  t.strictSame(methods(agent), []);
});

for (const how of ['cancelled', 'ended'] as const) {
  t.test(`a send that is ${how} before beforeStart has been fulfilled is never sent`, async (t) => {
    const observer = new Recorder();
    const { agent, threads } = await setUp(t, { observer });
    const { listener, send } = dispatch(threads);
    await observer.until(() => observer.starting.length === 1);
    if (how === 'cancelled') send.cancel();
    else await threads.endAllChats();
    t.equal(await listener.ended, 'cancelled');
    t.strictSame(observer.removed, [[observer.starting[0]?.chatId, undefined]]);
    observer.release();
    const other = dispatch(threads, { agentId: 'hr' });
    await observer.until(() => observer.starting.length === 2);
    observer.release();
    await other.listener.ended;
    t.strictSame(
      agent.requests.map(({ agentId }) => agentId),
      ['hr'],
    );
    t.equal(listener.endings, 1);
  });
}

t.test('a thread is removed from the record when its chat is ended, not before', async (t) => {
  const observer = new Recorder();
  const { agent, threads } = await setUp(t, { observer, agent: { agents: ['support'] } });
  const sent = threads.sendToAgent({ agentId: 'support', message: say('hello') });
  await observer.until(() => observer.starting.length === 1);
  observer.release();
  await sent;
  const gate = agent.hold({ method: 'chat.end' });
  const ended = threads.endChat('support');
  await reached(agent, 'chat.end');
  t.strictSame(observer.removed, []);
  gate.release();
  await ended;
  t.match(observer.removed, [[observer.starting[0]?.chatId, { ok: true }]]);
});

t.test(
  'a chat that the agent has lost is removed from the record, and the new one goes through beforeStart',
  async (t) => {
    const observer = new Recorder();
    const { agent, threads } = await setUp(t, { observer });
    const sent = threads.sendToAgent({ agentId: 'support', message: say('hello') });
    await observer.until(() => observer.starting.length === 1);
    observer.release();
    await sent;
    agent.forget();
    const again = threads.sendToAgent({ agentId: 'support', message: say('hello') });
    await observer.until(() => observer.starting.length === 2);
    const [first, second] = observer.starting;
    t.strictSame(observer.removed, [[first?.chatId, undefined]]);
    t.not(second?.chatId, first?.chatId);
    observer.release();
    t.equal((await again).restarted, true);
    t.equal(requestsOf(agent, 'chat.start').length, 2);
  },
);

t.test('the record hears of the chat id that an agent gives its chat', async (t) => {
  const observer = new Recorder();
  const { agent, threads } = await setUp(t, { observer, agent: { chatIds: 'server' } });
  const sent = threads.sendToAgent({ agentId: 'support', message: say('hello') });
  await observer.until(() => observer.starting.length === 1);
  observer.release();
  await sent;
  const [started] = observer.starting;
  const [id] = [...agent.chats.keys()];
  t.not(id, started?.chatId);
  t.match(observer.changed, [[{ chatId: id }, started?.chatId]]);
});

t.test('threads are exported as copies, and another manager continues their chats', async (t) => {
  const observer = new Recorder();
  const { agent, client, threads } = await setUp(t, { observer });
  const sent = threads.sendToAgent({ agentId: 'support', contextId: 'c:1', message: say('hello') });
  await observer.until(() => observer.starting.length === 1);
  observer.release();
  await sent;
  const entries = JSON.parse(JSON.stringify(threads.exportThreads()));
  const { ThreadManager } = await import('../../src/threads/thread-manager.js');
  const other = new ThreadManager(client, { observer });
  other.importThreads(entries);
  await other.sendToAgent({ agentId: 'support', contextId: 'c:1', message: say('again') });
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
  t.equal(other.getThreadId('support', 'c:1'), observer.starting[0]?.chatId);
  t.equal(observer.starting.length, 1);
  t.strictSame(observer.removed, []);
});
