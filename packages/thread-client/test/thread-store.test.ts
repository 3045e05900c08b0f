import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import type { Turn } from '../src/index.js';
import { ThreadRegistry } from '../src/react/registry.js';
import { type ThreadSnapshot, ThreadStore } from '../src/react/thread-store.js';
import type { ClientTurn } from '../src/turn.js';
import { createWorld, FAST, failure, until } from './world.js';

/** The next snapshot that is as wanted. */
function snapshot(store: ThreadStore, wanted: (snapshot: ThreadSnapshot) => boolean): Promise<ThreadSnapshot> {
  return new Promise((resolve) => {
    const stop = store.subscribe(() => {
      if (!wanted(store.snapshot)) return;
      stop();
      resolve(store.snapshot);
    });
  });
}

t.test('a conversation is a list of messages, and each change is a new snapshot', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  const store = new ThreadStore(() => one, 'support', { contextId: 'c' });
  const seen = new Set<ThreadSnapshot>();
  store.subscribe(() => seen.add(store.snapshot));
  const ready = snapshot(store, ({ status }) => status === 'ready');
  // As an application passes on what it may not have: it streams, as without it.
  const turn = store.send('one two', { stream: undefined });
  t.equal(turn.contextId, 'c');
  t.equal(store.snapshot.status, 'submitted');
  t.match(await ready, {
    status: 'ready',
    error: undefined,
    messages: [
      { role: 'user', text: 'one two', status: 'done' },
      { role: 'agent', text: 'support #1: one two', status: 'done', id: turn.id },
    ],
  });
  t.ok(seen.size > 4);
  t.ok([...seen].some(({ status }) => status === 'streaming'));
  const message = { role: 'user', parts: [{ type: 'text', content: 'parts' }] };
  await store.send(message).result;
  t.equal(store.snapshot.messages[2]?.text, 'parts');
  await store.end('Done');
  t.strictSame(store.snapshot, { messages: [], status: 'ready', error: undefined });
});

t.test('stop cancels what is under way, and an error stays until the next message', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const store = new ThreadStore(() => one, 'support', {});
  const gate = agent.hold();
  const stopped = snapshot(store, ({ messages }) => messages[1]?.status === 'cancelled');
  store.send('a');
  await gate.arrived;
  store.stop();
  t.equal((await stopped).status, 'ready');
  gate.release();
  agent.script('chat.start', { error: { code: -42_004, message: 'Broken' } });
  const failed = snapshot(store, ({ status }) => status === 'error');
  store.send('b');
  t.match(await failed, { error: { code: -42_004 }, messages: [{}, {}, {}, { status: 'failed' }] });
  const ready = snapshot(store, ({ status }) => status === 'ready');
  store.send('c');
  t.equal((await ready).error, undefined);
  await store.end();
});

t.test('turns that are pending already are shown once, however many look', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const gate = agent.hold();
  const turn = one.send('support', 'a', { stream: true });
  one.send('support', 'b', { contextId: 'other' });
  await gate.arrived;
  const store = new ThreadStore(() => one, 'support', {});
  store.subscribe(() => {});
  const ready = snapshot(store, ({ status }) => status === 'ready');
  t.match(store.snapshot.messages, [{ id: turn.id, role: 'agent', status: 'streaming' }]);
  t.equal(store.snapshot.messages.length, 1);
  gate.release();
  t.match((await ready).messages, [{ text: 'support #1: a' }]);
});

t.test('a conversation goes on after what was said before', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const gate = agent.hold();
  const [first, second] = ['a', 'b'].map((text) => one.send('support', text, { stream: true })) as [Turn, Turn];
  await gate.arrived;
  const said = [
    { id: `${first.id}:user`, role: 'user', text: 'a', status: 'done' },
    { id: first.id, role: 'agent', text: 'support #1: a', status: 'done' },
    { id: `${second.id}:user`, role: 'user', text: 'b', status: 'done' },
  ] as const;
  const store = new ThreadStore(() => one, 'support', { initialMessages: said });
  t.strictSame(store.snapshot, { messages: said, status: 'ready', error: undefined });
  store.subscribe(() => {});
  t.match(store.snapshot.messages, [...said, { id: second.id, role: 'agent', status: 'streaming' }]);
  const ready = snapshot(store, ({ status }) => status === 'ready');
  gate.release();
  t.match((await ready).messages, [...said, { id: second.id, text: 'support #2: b', status: 'done' }]);
  await store.end();
  t.strictSame(store.snapshot.messages, []);
});

t.test('a message that is sent while the conversation ends begins the next one, and stays', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const store = new ThreadStore(() => one, 'support', {});
  await store.send('old').result;
  const gate = agent.hold('chat.end');
  const ended = store.end();
  await gate.arrived;
  const turn = store.send('new');
  gate.release();
  await ended;
  await turn.result;
  await until(() => store.snapshot.status === 'ready');
  t.match(store.snapshot.messages, [
    { role: 'user', text: 'new' },
    { role: 'agent', text: 'support #1: new' },
  ]);
  t.equal(store.snapshot.messages.length, 2);
});

t.test('an end that fails need not be looked at, as in the example of the README', async (t) => {
  const { client } = await createWorld(t);
  const one = client();
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note);
  t.teardown(() => process.off('unhandledRejection', note));
  await one.close();
  const ended = new ThreadStore(() => one, 'support', {}).end();
  // One that began later has failed, and Node reports rejections at the end of a turn.
  await failure(one.end('support'));
  await new Promise(setImmediate);
  t.strictSame(unhandled, []);
  t.match(await failure(ended), { name: 'ClosedError' });
});

t.test('what is sent after the last provider has gone fails, and leaves no connection', async (t) => {
  const { proxy, relay } = await createWorld(t);
  const registry = new ThreadRegistry({ ...FAST, url: proxy.url });
  const store = registry.store('support', {});
  registry.mount()();
  await until(() => registry.existing === undefined);
  const turn = store.send('late');
  t.match(await failure(turn.result), { name: 'ClosedError' });
  await until(() => registry.existing === undefined && relay.stats().sessions === 0);
});

t.test('what is sent before the provider has mounted is answered', async (t) => {
  const { proxy } = await createWorld(t);
  const registry = new ThreadRegistry({ ...FAST, url: proxy.url });
  // As in a layout effect: the provider has its effect in a later task.
  const turn = registry.store('support', {}).send('early');
  await setTimeout(20);
  const unmount = registry.mount();
  t.equal(await turn.text(), 'support #1: early');
  unmount();
  await until(() => registry.existing === undefined);
});

t.test('a registry makes its client when it is needed, and closes it when the last provider has gone', async (t) => {
  const { proxy, relay, client } = await createWorld(t);
  const registry = new ThreadRegistry({ ...FAST, url: proxy.url });
  t.equal(registry.existing, undefined);
  t.equal(registry.store('a', {}), registry.store('a', {}));
  t.not(registry.store('a', {}), registry.store('a', { contextId: 'c' }));
  const unmount = registry.mount();
  const made = registry.existing;
  unmount();
  const unmountAgain = registry.mount();
  t.equal(registry.existing, made, 'StrictMode mounts twice');
  await until(() => made?.state.status === 'open');
  unmountAgain();
  await until(() => registry.existing === undefined && relay.stats().sessions === 0);
  t.equal(made?.state.status, 'closed');

  const own = client();
  const other = new ThreadRegistry(own);
  other.mount()();
  t.equal(other.existing, own);
  t.equal(other.client(), own);
});

t.test('[F-522] an answer that cannot be shown is listed once, however often components come and go', async (t) => {
  const { agent, client } = await createWorld(t);
  const one = client();
  const gate = agent.hold();
  const turn = one.send('support', 'a', { stream: true });
  // As after a reload: its pieces were too many to be stored.
  (turn as ClientTurn).restore(undefined);
  const store = new ThreadStore(() => one, 'support', {});
  for (let times = 0; times < 3; times++) {
    store.subscribe(() => {})();
    await until(() => store.snapshot.status === 'error');
  }
  t.match(store.snapshot.messages, [{ id: turn.id, status: 'failed', error: { code: 'UNREAD' } }]);
  t.equal(store.snapshot.messages.length, 1);
  gate.release();
  await turn.result;
});
