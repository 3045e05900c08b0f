// Several clients of one page, or of several pages in one tab, with the same storage.
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { WebSocket } from 'ws';
import type { ThreadClient, ThreadClientOptions } from '../src/index.js';
import { installLocks, removeLocks } from './locks.js';
import { MemoryStorage } from './memory-storage.js';
import { createWorld, state, until, type World } from './world.js';

/** The first frame of each connection: it may have a secret in it. */
function spy(resumes: string[]): typeof WebSocket {
  return class extends WebSocket {
    override send(text: string): void {
      if (text.includes('"resume"')) resumes.push(text);
      super.send(text);
    }
  };
}

/** Opens clients as a page does, and can be reloaded: the connections are lost, and the storage is kept. */
function tab() {
  let storage = new MemoryStorage();
  const resumes: string[] = [];
  const open = ({ client, proxy }: World, options: Partial<ThreadClientOptions> = {}): ThreadClient => {
    const page = storage;
    // A page that is gone does not connect again.
    const shouldRetry = () => (page === storage ? undefined : false);
    return client({
      storage,
      shouldRetry,
      WebSocket: spy(resumes),
      url: `${proxy.url}?ticket=${resumes.length}`,
      ...options,
    });
  };
  const reload = (...worlds: World[]): void => {
    storage = storage.copy();
    resumes.length = 0;
    for (const { proxy } of worlds) proxy.cut();
  };
  return { open, reload, resumes, items: () => storage.items };
}

for (const locks of ['with', 'without']) {
  t.test(
    `${locks} locks, clients of two relays keep their sessions apart, over a reload as well [F-407]`,
    async (t) => {
      const held = locks === 'with' ? installLocks(t) : removeLocks(t);
      const [a, b] = [await createWorld(t, { resume: true }), await createWorld(t, { resume: true })];
      const { open, reload, resumes } = tab();
      const first = open(a);
      await first.send('support', 'one').result;
      const second = open(b);
      await second.send('support', 'one').result;
      t.strictSame(resumes, ['{"type":"resume"}', '{"type":"resume"}'], 'no secret of another relay');
      reload(a, b);
      held.clear();
      t.equal(await open(b).send('support', 'two').text(), 'support #2: two', 'in whatever order');
      t.equal(await open(a).send('support', 'two').text(), 'support #2: two');
    },
  );

  t.test(
    `${locks} locks, two clients of one relay keep their sessions apart, over a reload as well [F-407]`,
    async (t) => {
      const held = locks === 'with' ? installLocks(t) : removeLocks(t);
      const world = await createWorld(t, { resume: true });
      const { open, reload } = tab();
      const first = open(world);
      await first.send('support', 'one').result;
      const second = open(world);
      t.match(await state(second, 'open'), { resumed: false });
      await second.send('sales', 'one').result;
      t.equal(await first.send('support', 'two').text(), 'support #2: two');
      reload(world);
      held.clear();
      t.equal(await open(world).send('support', 'three').text(), 'support #3: three');
      t.equal(await open(world).send('sales', 'two').text(), 'sales #2: two');
    },
  );
}

t.test('a client that is closed before it has its lock leaves the storage to the next one [F-407]', async (t) => {
  const held = installLocks(t);
  const world = await createWorld(t, { resume: true });
  const { open, reload, items } = tab();
  await open(world).send('support', 'one').result;
  const [name = ''] = held;
  reload(world);
  const first = open(world);
  await first.close();
  await open(world).send('support', 'one').result;
  const tabs = () => Array.from(items().values(), (record) => (JSON.parse(record) as { tab: string }).tab);
  const before = tabs();
  // The page before keeps its lock. This attempt began later than that of the first client, and ends later.
  const { locks } = navigator as unknown as { locks: LockManager };
  await setTimeout(500);
  await locks.request(name, { ifAvailable: true }, (lock) => t.equal(lock, null, 'it is held'));
  t.equal(before.length, 1);
  t.strictSame(tabs(), before);
});

t.test('with a function for the address, a session is continued only where it was [F-408]', async (t) => {
  removeLocks(t);
  const [a, b] = [await createWorld(t, { resume: true }), await createWorld(t, { resume: true })];
  const { open, reload, resumes } = tab();
  const ask = (world: World, ticket: number) => ({ url: async () => `${world.proxy.url}?ticket=${ticket}` });
  await open(a, ask(a, 1)).send('support', 'one').result;
  reload(a);
  const again = open(a, ask(a, 2));
  t.equal(await again.send('support', 'two').text(), 'support #2: two', 'tickets do not matter');
  reload(a);
  const other = open(b, ask(b, 3));
  t.match(await state(other, 'open'), { resumed: false });
  t.strictSame(resumes, ['{"type":"resume"}']);
  t.strictSame(other.threads(), []);
  t.equal(await other.send('support', 'one').text(), 'support #1: one');
});

t.test('what a page sends before it knows that its relay is another one is sent there [F-462]', async (t) => {
  removeLocks(t);
  const [a, b] = [await createWorld(t, { resume: true }), await createWorld(t, { resume: true })];
  const { open, reload } = tab();
  await open(a, { url: async () => a.proxy.url }).send('support', 'one').result;
  reload(a);
  t.equal(
    await open(b, { url: async () => b.proxy.url })
      .send('support', 'two')
      .text(),
    'support #1: two',
  );
});

t.test('while the page lives its function decides where the session is continued [F-408]', async (t) => {
  removeLocks(t);
  const world = await createWorld(t, { resume: true });
  const { open, resumes } = tab();
  let asked = 0;
  const client = open(world, { url: () => world.proxy.url.replace(/ws$/, `ws/${++asked}`) });
  await client.send('support', 'one').result;
  world.proxy.cut();
  await until(() => resumes.length === 2);
  t.equal(await client.send('support', 'two').text(), 'support #2: two');
});
