// Tabs of a browser, each with a storage of its own, which a duplicated tab copies.
import t, { type Test } from 'tap';
import { installLocks, refuseLocks } from './locks.js';
import { MemoryStorage } from './memory-storage.js';
import { createWorld, failure, state } from './world.js';

t.test('a duplicated tab gets a session of its own [F-406]', async (t) => {
  installLocks(t);
  const { client } = await createWorld(t, { resume: true });
  const storage = new MemoryStorage();
  const first = client({ storage });
  await first.send('support', 'one').result;
  const second = client({ storage: storage.copy() });
  t.match(await state(second, 'open'), { resumed: false });
  t.equal(await first.send('support', 'two').text(), 'support #2: two');
  t.equal(await second.send('support', 'three').text(), 'support #1: three');
});

t.test('so does a duplicate of a tab that was refused, and has logged in since [F-406]', async (t) => {
  const held = installLocks(t);
  let isKnown = false;
  const { client } = await createWorld(t, { resume: true, authenticate: () => isKnown && { id: 'ann' } });
  const storage = new MemoryStorage();
  const first = client({ storage });
  t.match(await state(first, 'closed'), { error: { code: 4401 } });
  isKnown = true;
  first.wake();
  await first.send('support', 'one').result;
  const second = client({ storage: storage.copy() });
  t.match(await state(second, 'open'), { resumed: false });
  t.equal(await first.send('support', 'two').text(), 'support #2: two');
  t.equal(held.size, 2, 'the lock of each tab');
});

/** A page, its duplicates, and its reload: it goes away with its lock and its connections, and finds what it has stored. */
async function pageOf(t: Test, install = installLocks) {
  const held = install(t);
  const { client, proxy } = await createWorld(t, { resume: true });
  let page = new MemoryStorage();
  const open = () => {
    const storage = page;
    // A page that is gone does not connect again.
    return client({ storage, url: () => (storage === page ? proxy.url : new Promise(() => {})) });
  };
  const duplicate = () => client({ storage: page.copy(), url: () => proxy.url });
  const reload = () => {
    page = page.copy();
    held.clear();
    proxy.cut();
    return open();
  };
  return { open, reload, duplicate };
}

t.test('a page that is busy for long while it starts keeps its session [F-503]', async (t) => {
  const { open, reload } = await pageOf(t);
  await open().send('support', 'one').result;
  const client = reload();
  const end = performance.now() + 800;
  while (performance.now() < end);
  t.equal(await client.send('support', 'two').text(), 'support #2: two');
  t.match(client.state, { resumed: true });
});

t.test('a duplicated tab does not keep the lock for which it has waited in vain [F-503]', async (t) => {
  const { open, reload, duplicate } = await pageOf(t);
  await open().send('support', 'one').result;
  t.match(await state(duplicate(), 'open'), { resumed: false });
  t.equal(await reload().send('support', 'two').text(), 'support #2: two');
});

t.test('what a duplicated tab sends at once is sent in the session that it gets [F-462]', async (t) => {
  installLocks(t);
  const { agent, client } = await createWorld(t, { resume: true });
  const storage = new MemoryStorage();
  const first = client({ storage });
  await first.send('support', 'one').result;
  const gate = agent.hold();
  const pending = first.send('support', 'two');
  await gate.arrived;
  const second = client({ storage: storage.copy() });
  const lost = new Promise((resolve) => second.on('lost', resolve));
  const [copied] = second.pending();
  const own = second.send('support', 'three');
  t.match(await failure(copied?.result ?? Promise.resolve()), { code: 'SESSION_LOST', reason: 'duplicate' });
  t.match(await lost, { reason: 'duplicate' });
  gate.release();
  t.equal(await own.text(), 'support #1: three');
  t.equal(await pending.text(), 'support #2: two');
});

t.test('a page whose browser refuses locks keeps its session, as one without locks does [F-505]', async (t) => {
  const { open, reload } = await pageOf(t, refuseLocks);
  await open().send('support', 'one').result;
  const client = reload();
  t.match(await state(client, 'open'), { resumed: true });
  t.equal(await client.send('support', 'two').text(), 'support #2: two');
});
