import t, { type Test } from 'tap';
import { ArcClient } from '../../src/client/arc-client.js';
import type { Logger } from '../../src/logger.js';
import { faults, startTestAgent } from '../../src/testing/index.js';
import type { ThreadEntry, ThreadStore } from '../../src/threads/store.js';
import { ThreadManager } from '../../src/threads/thread-manager.js';
import { dispatch, methods, requestsOf, saidIn, say, settled, setUp } from './helpers.js';

const hello = { agentId: 'support', message: say('hello') };

/** A test that fails on an uncaught exception or an unhandled rejection. */
function guarded(body: (t: Test) => Promise<void>): (t: Test) => Promise<void> {
  return async (t) => {
    const uncaught: unknown[] = [];
    const record = (error: unknown): void => void uncaught.push(error);
    process.on('unhandledRejection', record);
    process.on('uncaughtException', record);
    try {
      await body(t);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off('unhandledRejection', record);
      process.off('uncaughtException', record);
    }
    t.strictSame(uncaught, [], 'nothing was left uncaught');
  };
}

type Operation = 'get' | 'set' | 'delete' | 'values' | 'iterate' | 'clear' | 'size';
const OPERATIONS: Operation[] = ['get', 'set', 'delete', 'values', 'iterate', 'clear', 'size'];

/** How a function of the application fails. */
const FAILURES: Record<string, () => never> = {
  throws: () => {
    throw new Error('the database is away');
  },
  rejects: () => Promise.reject(new Error('the database is away')) as never,
  'never settles': () => new Promise(() => {}) as never,
  'throws what is no error': () => {
    throw Object.create(null);
  },
};

/** A store, some of whose operations fail. */
function failingStore(
  failing: ReadonlySet<Operation>,
  fail: () => never,
): ThreadStore & { map: Map<string, ThreadEntry> } {
  const map = new Map<string, ThreadEntry>();
  const run = <T>(operation: Operation, work: () => T): T => (failing.has(operation) ? fail() : work());
  return {
    map,
    get: (key) => run('get', () => map.get(key)),
    set: (key, entry) => run('set', () => map.set(key, { ...entry })),
    delete: (key) => run('delete', () => map.delete(key)),
    values: () =>
      run('values', () => ({
        *[Symbol.iterator]() {
          if (failing.has('iterate')) yield fail();
          yield* map.values();
        },
      })),
    clear: () => run('clear', () => map.clear()),
    get size() {
      return run('size', () => map.size);
    },
  };
}

for (const [how, fail] of Object.entries(FAILURES)) {
  const cases: Operation[][] = [...OPERATIONS.map((operation) => [operation]), OPERATIONS];
  for (const operations of cases) {
    const name = operations.length === 1 ? `whose ${operations[0]}` : 'of which everything';
    t.test(
      `a store ${name} ${how} changes no send and no chat [T-54]`,
      guarded(async (t) => {
        const store = failingStore(new Set(operations), fail);
        const { agent, threads } = await setUp(t, { store });
        t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
        t.equal(saidIn(await threads.sendToAgent(hello)), 'support #2: hello', 'the thread is known');
        t.equal(saidIn(await threads.sendToAgent({ ...hello, contextId: 'c' })), 'support #1: hello');
        t.equal(threads.threadCount, 2);
        t.equal(threads.hasThread('support'), true);
        t.strictSame(threads.getAllAgents(), ['support']);
        agent.forget(threads.getThreadId('support', 'c'));
        t.equal((await threads.sendToAgent({ ...hello, contextId: 'c' })).restarted, true);
        t.match((await threads.endChat('support'))?.result, { chat: { status: 'CLOSED' } });
        t.equal(threads.hasThread('support'), false, 'an ended thread is forgotten');
        t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello', 'the next message starts a chat');
        const outcomes = await threads.endAllChats();
        t.strictSame(
          outcomes.map(({ ok }) => ok),
          [true, true],
        );
        t.match(agent.counters, { open: 0 });
        t.equal(threads.threadCount, 0);
        t.strictSame(await threads.endAllChats(), []);
        t.equal(requestsOf(agent, 'chat.end').length, 3);
        await threads.sendToAgent(hello);
        threads.clear();
        t.equal(threads.threadCount, 0);
        t.equal(threads.removeThreadId('support'), undefined);
        await new Promise((resolve) => setImmediate(resolve));
      }),
    );
  }
}

t.test(
  'a store that works again gets what it has missed',
  guarded(async (t) => {
    const failing = new Set<Operation>(['set', 'delete']);
    const store = failingStore(failing, FAILURES.throws as () => never);
    const { threads, log } = await setUp(t, { store });
    await threads.sendToAgent(hello);
    await threads.sendToAgent({ ...hello, agentId: 'other' });
    t.equal(store.map.size, 0);
    t.ok(log.length > 0, 'the failure is logged');
    failing.clear();
    await threads.sendToAgent({ ...hello, agentId: 'third' });
    t.strictSame([...store.map.values()].map(({ agentId }) => agentId).sort(), ['other', 'support', 'third']);
    await threads.endAllChats();
    t.equal(store.map.size, 0);
  }),
);

t.test(
  'entries of a store that are none are ignored',
  guarded(async (t) => {
    const map = new Map<string, unknown>([
      ['null', null],
      ['text', 'chat-1'],
      ['support', { agentId: 'support', chatId: 7 }],
      ['other', { agentId: 'other' }],
    ]);
    const { agent, threads } = await setUp(t, { store: map as Map<string, ThreadEntry> });
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
    t.strictSame(threads.getAllAgents(), ['support']);
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.strictSame(methods(agent), ['chat.start', 'chat.end']);
  }),
);

t.test(
  'frozen entries of a store can be updated',
  guarded(async (t) => {
    const map = new Map<string, ThreadEntry>();
    const set = map.set.bind(map);
    map.set = (key, entry) => set(key, Object.freeze({ ...entry }));
    const { agent, threads, log } = await setUp(t, { store: map, agent: { chatIds: 'server' } });
    await threads.sendToAgent(hello);
    t.equal(threads.getThreadId('support'), [...agent.chats.keys()][0]);
    agent.script('chat.message', { events: [{ data: 'so far' }], done: false, finish: 'cut' });
    await settled(threads.sendToAgent(hello));
    await threads.sendToAgent(hello);
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.strictSame(log, []);
  }),
);

for (const [how, fail] of Object.entries(FAILURES)) {
  t.test(
    `a logger that ${how} changes no send and no chat [T-55]`,
    guarded(async (t) => {
      const logger: Logger = { debug: fail, info: fail, warn: fail, error: fail };
      const store = failingStore(new Set<Operation>(['get', 'set']), FAILURES.throws as () => never);
      const hooks = { onStart: FAILURES.throws as () => never, onEnd: FAILURES.rejects as () => never };
      const { agent, threads } = await setUp(t, {
        logger,
        store,
        hooks,
        cleanupTimeout: 300,
        agent: { createChat: 'when-ready' },
      });
      t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
      agent.script('chat.message', { events: [{ data: { chatId: 'other' } }] });
      t.equal(await dispatch(threads, { stream: true }).listener.ended, 'done');
      agent.script('chat.end', { ...faults.html(502), times: 1 });
      t.match(await threads.endAllChats(), [{ ok: true }]);
      await threads.sendToAgent(hello);
      agent.script('chat.end', { ...faults.html(502), times: 99 });
      t.match(await threads.endAllChats(), [{ ok: false }], 'an orphan cannot be reported');
      const gate = agent.hold('chat.start');
      const { listener, send } = dispatch(threads, { agentId: 'another' });
      await gate.arrived;
      send.cancel();
      t.equal(await listener.ended, 'cancelled');
      await threads.endAllChats();
      gate.release();
    }),
  );
}

t.test(
  'a logger needs no more than one level',
  guarded(async (t) => {
    const { agent, threads } = await setUp(t, { logger: { error: () => {} } as never });
    await threads.sendToAgent(hello);
    agent.script('chat.message', { events: [{ data: { chatId: 'other' } }] });
    t.equal(await dispatch(threads, { stream: true }).listener.ended, 'done');
  }),
);

for (const [how, fail] of Object.entries(FAILURES)) {
  t.test(
    `hooks of which each ${how} change no send and no chat [T-56]`,
    guarded(async (t) => {
      const { agent, threads } = await setUp(t, { hooks: { onStart: fail, onRestart: fail, onEnd: fail } });
      t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
      agent.forget();
      t.equal((await threads.sendToAgent(hello)).restarted, true);
      t.match(await threads.endAllChats(), [{ ok: true }]);
      t.equal(agent.counters.open, 0);
    }),
  );

  t.test(
    `a token function that ${how} fails its send, and a chat is ended as soon as there is a token`,
    guarded(async (t) => {
      let isFailing = true;
      const token = (): string => (isFailing ? fail() : 'secret');
      const { agent, threads } = await setUp(t, { token, agent: { token: 'secret' } });
      const { error } = await settled(threads.sendToAgent({ ...hello, timeout: 50 }));
      t.match(error, { code: -44_001 });
      t.equal(threads.threadCount, 0);
      t.equal(agent.counters.requests, 0);
      t.strictSame(await threads.endAllChats(), []);
      isFailing = false;
    }),
  );
}

t.test(
  'hooks whose getters throw change no send and no chat',
  guarded(async (t) => {
    const boom = FAILURES.throws as () => never;
    let isArmed = false;
    const hooks = {
      get onStart(): () => void {
        return isArmed ? boom() : () => {};
      },
      get onEnd(): () => void {
        return isArmed ? boom() : () => {};
      },
    };
    const { agent, threads } = await setUp(t, { hooks });
    isArmed = true;
    t.equal(saidIn(await threads.sendToAgent(hello)), 'support #1: hello');
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.equal(agent.counters.open, 0);
  }),
);

t.test(
  'an endpoint function that throws once does not leave a chat open [T-57]',
  guarded(async (t) => {
    const agent = await startTestAgent();
    let isFailing = false;
    const client = new ArcClient({
      endpoint: () => {
        if (!isFailing) return agent.endpoint;
        isFailing = false;
        throw new Error('the registry is away');
      },
    });
    t.teardown(() => Promise.all([client.close(), agent.close()]));
    const threads = new ThreadManager(client);
    await threads.sendToAgent(hello);
    isFailing = true;
    t.match(await threads.endAllChats(), [{ ok: true }]);
    t.equal(agent.counters.open, 0);
  }),
);
