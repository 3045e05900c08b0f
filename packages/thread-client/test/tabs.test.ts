// Tabs of a browser, each with a storage of its own, which a duplicated tab copies.
import t from 'tap';
import { installLocks } from './locks.js';
import { MemoryStorage } from './memory-storage.js';
import { createWorld, state } from './world.js';

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
