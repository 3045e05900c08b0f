// Reloads of a page, slow loops, interrupted turns and stolen sessions, with the real relay.
import t, { type Test } from 'tap';
import type { ThreadClient } from '../src/index.js';
import { MemoryStorage } from './memory-storage.js';
import { createWorld, failure, state, until } from './world.js';

/** A page with a storage. `reload` drops the page without closing it, and opens the next one. */
async function page(t: Test) {
  const world = await createWorld(t, { resume: true });
  let page = new MemoryStorage();
  const open = (): ThreadClient => {
    const storage = page;
    // A page that is gone does not connect again.
    return world.client({ storage, url: () => (storage === page ? world.proxy.url : new Promise(() => {})) });
  };
  const reload = async (): Promise<ThreadClient> => {
    page = page.copy();
    world.proxy.cut();
    return open();
  };
  return { ...world, open, reload };
}

t.test(
  'a reload in the middle of an answer: it iterates from its first piece, and each piece comes once',
  async (t) => {
    const { agent, open, reload } = await page(t);
    const numbers = Array.from({ length: 100 }, (_, n) => `${n} `);
    let goOn = (): void => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    agent.script('chat.start', async function* () {
      yield* numbers.slice(0, 50);
      await held;
      yield* numbers.slice(50);
    });
    const turn = open().send('support', 'count', { stream: true, contextId: 'c' });
    let pieces = 0;
    for await (const _ of turn) if (++pieces === 50) break;
    const client = await reload();
    const [again, ...others] = client.pending();
    t.match(again, { id: turn.id, agentId: 'support', contextId: 'c', settled: false });
    t.equal(others.length, 0);
    const text = again?.text();
    t.match(await state(client, 'open'), { resumed: true });
    goOn();
    t.equal(await text, numbers.join(''));
    t.match(client.threads(), [{ agentId: 'support', contextId: 'c' }]);
    t.equal(await client.send('support', 'more', { contextId: 'c' }).text(), 'support #2: more', 'the same chat');
    t.equal(agent.counters.requests, 2);
  },
);

t.test('a reload keeps pieces that the agent has written in several lines [F-456]', async (t) => {
  const { agent, open, reload } = await page(t);
  const pretty = (text: string): string => JSON.stringify({ parts: [{ type: 'text', content: text }] }, undefined, 2);
  const numbers = Array.from({ length: 40 }, (_, n) => `${n} `);
  agent.script('chat.start', { events: numbers.map((data) => ({ data: pretty(data) })), finish: 'stall' });
  const turn = open().send('support', 'count', { stream: true });
  let pieces = 0;
  for await (const _ of turn) if (++pieces === 40) break;
  const client = await reload();
  client.on('storage', (error) => t.fail(String(error)));
  client.on('lost', (error) => t.fail(String(error)));
  const [again] = client.pending();
  t.equal(again?.id, turn.id);
  let text = '';
  for await (const piece of again ?? []) {
    text += piece.text;
    if (text.length === numbers.join('').length) break;
  }
  t.equal(text, numbers.join(''));
});

t.test('a slow loop slows its agent, and loses nothing', async (t) => {
  const { agent, client, relay } = await createWorld(t, { resume: { maxBufferedBytes: 100_000 } });
  const piece = 'x'.repeat(50_000);
  const total = 200;
  let made = 0;
  agent.script('chat.start', async function* () {
    for (; made < total; made++) yield piece;
  });
  const one = client();
  const turn = one.send('support', 'much', { stream: true });
  const loop = turn[Symbol.asyncIterator]();
  await loop.next();
  await until(() => relay.stats().journalBytes > 100_000);
  t.ok(made < total, `the agent is held up at ${made} of ${total} pieces`);
  let seen = 1;
  while (!(await loop.next()).done) seen += 1;
  t.equal(seen, total);
  await until(() => relay.stats().journalBytes === 0);
});

t.test('a session that another identity has stolen from the storage is refused, and its owner keeps it', async (t) => {
  const { agent, client, proxy, relay } = await createWorld(t, {
    resume: true,
    authenticate: ({ url = '' }) => ({ id: new URL(url, 'ws://relay').searchParams.get('user') }),
  });
  const storage = new MemoryStorage();
  const owner = client({ storage, url: `${proxy.url}?user=ann` });
  await owner.send('support', 'one').result;
  const gate = agent.hold();
  const turn = owner.send('support', 'two');
  await gate.arrived;
  const thief = client({ storage: storage.copy(), url: `${proxy.url}?user=bob` });
  t.match(await failure(thief.pending()[0]?.result ?? Promise.resolve()), {
    code: 'SESSION_LOST',
    reason: 'forbidden',
  });
  t.equal(thief.state.status, 'open');
  t.strictSame(thief.threads(), []);
  gate.release();
  t.equal(await turn.text(), 'support #2: two');
  t.equal(owner.state.status, 'open');
  t.equal(relay.stats().resumed, 0);
});

t.test('the same session in a second page takes the first one over, which stops', async (t) => {
  const { client } = await createWorld(t, { resume: true });
  const storage = new MemoryStorage();
  const first = client({ storage });
  await first.send('support', 'one').result;
  const second = client({ storage: storage.copy() });
  t.match(await state(second, 'open'), { resumed: true });
  t.match(await state(first, 'closed'), { error: { code: 4409 } });
  t.equal(await second.send('support', 'two').text(), 'support #2: two');
  t.equal(first.state.status, 'closed', 'it does not come back');
});

t.test('a turn that the relay gives up for a newer one is interrupted, and the conversation continues', async (t) => {
  const { agent, client } = await createWorld(t, { resume: true, busy: 'interrupt' });
  const one = client();
  const events: string[] = [];
  one.on('interrupted', ({ id }, error) => events.push(`${id} ${error.code}`));
  await one.send('support', 'Hello').result;
  const gate = agent.hold();
  const turn = one.send('support', 'old', { stream: true });
  await gate.arrived;
  const next = one.send('support', 'new', { stream: true });
  t.match(await failure(turn.result), { code: 'INTERRUPTED', mayHaveReached: true });
  t.strictSame(events, [`${turn.id} INTERRUPTED`]);
  gate.release();
  t.match(await next.text(), /new$/);
  t.equal(next.restarted, false);
});

t.test('a turn without a loop slows no other, and the states describe a reconnection', async (t) => {
  const { agent, client, proxy, relay } = await createWorld(t, { resume: { maxBufferedBytes: 100_000 } });
  const one = client();
  await state(one, 'open');
  const states: string[] = [];
  one.on('state', ({ status }) => states.push(status));
  const piece = 'x'.repeat(50_000);
  agent.script('chat.start', async function* () {
    for (let n = 0; n < 40; n++) yield piece;
  });
  const turn = one.send('support', 'much', { stream: true });
  await turn.result;
  t.match(await failure(turn.text()), { code: 'UNREAD' }, 'only the first MiB is kept');
  await until(() => relay.stats().journalBytes === 0);
  proxy.cut();
  await state(one, 'waiting');
  await state(one, 'open');
  t.strictSame(states, ['waiting', 'resuming', 'open']);
});
