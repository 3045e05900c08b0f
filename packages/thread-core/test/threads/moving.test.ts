import t from 'tap';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { dispatch, methods, RecordingListener, requestsOf, say, setUp } from './helpers.js';

t.test('sends that were never begun can be taken, and sent by another manager, in their order [T-62]', async (t) => {
  for (const busy of ['queue', 'parallel'] as const) {
    const { agent, client, threads } = await setUp(t, { busy });
    const gate = agent.hold('chat.start');
    const running = dispatch(threads, { message: say('first') });
    const waiting = ['second', 'third'].map((text) => dispatch(threads, { message: say(text) }));
    await gate.arrived;
    t.strictSame(
      [running, ...waiting].map(({ send }) => send.isWaiting),
      [false, true, true],
    );
    const taken = threads.takeWaiting();
    t.strictSame(
      taken,
      waiting.map(({ send }) => send),
    );
    t.strictSame(threads.takeWaiting(), []);
    gate.release();
    t.equal(await running.listener.ended, 'response');
    const other = new ThreadManager(client, { busy: 'queue' });
    other.importThreads(threads.exportThreads());
    threads.clear();
    const answers = taken.map(({ request }) => {
      const listener = new RecordingListener();
      other.dispatch(request, listener);
      return listener.ended;
    });
    t.strictSame(await Promise.all(answers), ['response', 'response']);
    t.strictSame(methods(agent), ['chat.start', 'chat.message', 'chat.message']);
    t.match(
      requestsOf(agent, 'chat.message').map(({ params }) => params.message),
      [say('second'), say('third')],
    );
    t.strictSame(
      waiting.map(({ listener }) => listener.received),
      [[], []],
      'the listeners that they had hear nothing',
    );
    t.strictSame(await threads.endAllChats(), []);
    t.match(await other.endAllChats(), [{ ok: true }]);
  }
});

t.test('chats that are being ended are counted', async (t) => {
  const { agent, threads } = await setUp(t);
  await dispatch(threads).listener.ended;
  const gate = agent.hold('chat.end');
  const ending = threads.endChat('support');
  await gate.arrived;
  t.equal(threads.endingCount, 1);
  gate.release();
  await ending;
  t.equal(threads.endingCount, 0);
});

t.test('a lost chat whose successor is not sent yet is not ended when its send is cancelled', async (t) => {
  let isHeld = false;
  const held: string[] = [];
  const removed: string[] = [];
  let onHeld = (): void => {};
  const { agent, threads } = await setUp(t, {
    observer: {
      beforeStart: ({ chatId }) => {
        if (!isHeld) return undefined;
        held.push(chatId);
        onHeld();
        return new Promise(() => {});
      },
      onRemoved: ({ chatId }) => void removed.push(chatId),
    },
  });
  await dispatch(threads).listener.ended;
  const first = threads.getThreadId('support') as string;
  agent.forget();
  isHeld = true;
  const waits = new Promise<void>((resolve) => {
    onHeld = resolve;
  });
  const { send, listener } = dispatch(threads);
  await waits;
  t.equal(send.wasSent, false, 'what was sent belongs to the chat that was lost');
  send.cancel();
  t.equal(await listener.ended, 'cancelled');
  t.equal(threads.endingCount, 0);
  t.strictSame(removed, [first, ...held]);
  t.strictSame(methods(agent), ['chat.start', 'chat.message']);
});

t.test('the observer gets a chat that is taken over from elsewhere', async (t) => {
  const changed: unknown[] = [];
  const { threads } = await setUp(t, { observer: { onAdopted: (entry) => void changed.push(entry) } });
  threads.storeThreadId('support', 'chat-1', 'c');
  t.strictSame(changed, [{ agentId: 'support', contextId: 'c', chatId: 'chat-1' }]);
});
