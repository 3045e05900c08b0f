import { CuttingProxy } from '@arc/test-client';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { createThreadClient, type ThreadClient, type ThreadClientOptions } from '../src/index.js';
import { SessionStore } from '../src/storage.js';
import { MemoryStorage } from './memory-storage.js';
import { idOf, pieces, ResumeServer } from './resume-server.js';
import { FAST, failure, state, until } from './world.js';

/** A page with a storage: `reload` drops the page without closing it, and opens the next one. */
async function page(t: Test) {
  const server = await ResumeServer.start();
  const storage = new MemoryStorage();
  const proxy = await CuttingProxy.start(server.port);
  let client: ThreadClient;
  const open = (options: Partial<ThreadClientOptions> = {}): ThreadClient => {
    client = createThreadClient({ ...FAST, url: proxy.url, storage, ...options });
    return client;
  };
  t.teardown(async () => {
    await client.close();
    await proxy.close();
    await server.close();
  });
  const reload = async (options: Partial<ThreadClientOptions> = {}): Promise<ThreadClient> => {
    // What the old page still does must not be stored: the new one has a copy, as a browser would have.
    const items = new Map(storage.items);
    proxy.cut();
    await client.close();
    storage.items.clear();
    for (const [key, value] of items) storage.items.set(key, value);
    return open(options);
  };
  const key = `arc-threads:${proxy.url}`;
  return { server, proxy, storage, key, open, reload };
}

t.test('after a reload the pending turns are there, and iterate from their first piece', async (t) => {
  const { server, open, reload } = await page(t);
  let client = open();
  const turn = client.send('support', 'Hello', { stream: true, contextId: 'c', traceId: 't' });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 10; n++) server.session.emit({ type: 'content', id: turn.id, data: `${n} ` });
  await until(() => server.session.acks.at(-1) === 10);
  client = await reload();
  const [again, ...others] = client.pending();
  t.equal(others.length, 0);
  t.match(again, { id: turn.id, agentId: 'support', contextId: 'c', traceId: 't', settled: false });
  const text = again?.text();
  await state(client, 'open');
  t.match(client.state, { resumed: true });
  server.session.emit({ type: 'content', id: turn.id, data: '10 ' });
  server.session.emit({ type: 'done', id: turn.id, data: null });
  t.equal(await text, '0 1 2 3 4 5 6 7 8 9 10 ');
  t.equal(server.sessions.size, 1);
  t.match(client.threads(), [{ agentId: 'support', contextId: 'c' }]);
  const next = client.send('support', 'x');
  t.not(next.id, turn.id, 'ids are not used again');
});

t.test('after a reload pieces that were not acknowledged arrive again, and once', async (t) => {
  const { server, open, reload } = await page(t);
  server.ack = { frames: 1_000, bytes: 1_000_000, ms: 60_000 };
  let client = open();
  const turn = client.send('support', 'Hello', { stream: true });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 3; n++) server.session.emit({ type: 'content', id: turn.id, data: `${n} ` });
  let seen = 0;
  for await (const _ of turn) {
    seen += 1;
    if (seen === 3) break;
  }
  client = await reload();
  const text = client.pending()[0]?.text();
  await state(client, 'open');
  server.session.emit({ type: 'done', id: turn.id, data: null });
  t.equal(await text, '0 1 2 ');
});

t.test('a message that was stored and never sent is sent by the next page, once', async (t) => {
  const { server, proxy, open, reload } = await page(t);
  const unsent = open({ url: () => new Promise(() => {}) }).send('support', 'b');
  const client = await reload({ url: () => proxy.url });
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  t.strictSame(
    client.pending().map(({ id }) => id),
    [unsent.id],
  );
  t.equal(await client.pending()[0]?.text(), '0 ');
  t.strictSame(server.handled, [unsent.id]);
});

t.test('an end that is under way is waited for by the next page', async (t) => {
  const { server, open, reload } = await page(t);
  let client = open();
  const ended = failure(client.end('support'));
  await until(() => server.sessions.size === 1 && server.session.frames.length === 1);
  client = await reload();
  await ended;
  await until(() => server.session.frames.length === 2);
  t.strictSame(
    server.session.frames.map(({ type }) => type),
    ['end', 'end'],
  );
});

t.test('what is stored is written before a frame leaves, and before an acknowledgement', async (t) => {
  const { server, storage, key, open } = await page(t);
  const leaving: unknown[] = [];
  /** Looks at the storage in the moment in which a frame leaves. */
  class WatchedWebSocket extends WebSocket {
    override send(text: string): void {
      const { type } = JSON.parse(text) as { type?: string };
      const { sent, seq, chunks } = JSON.parse(storage.getItem(key) ?? '{}') as Record<string, unknown>;
      if (type !== 'resume') leaving.push({ type: type ?? 'message', sent, seq, chunks });
      super.send(text);
    }
  }
  const client = open({ WebSocket: WatchedWebSocket });
  await state(client, 'open');
  server.onFrame = (session, frame) => {
    for (let n = 0; n < 4; n++) session.emit({ type: 'content', id: idOf(frame), data: n });
  };
  const { id } = client.send('support', 'a', { stream: true });
  await until(() => server.session?.acks.length > 0);
  t.strictSame(leaving, [
    { type: 'message', sent: 1, seq: 0, chunks: [] },
    { type: 'ack', sent: 1, seq: 4, chunks: [[id, 1]] },
  ]);
  t.equal(storage.getItem(`${key}:${id}:0`)?.split('\f').length, 4, 'the pieces themselves');
});

t.test('a turn that has ended leaves nothing in the storage, and close() empties it', async (t) => {
  const { server, storage, open } = await page(t);
  server.onFrame = (session, frame) => pieces(session, frame, 20);
  const client = open();
  await client.send('support', 'a').result;
  await until(() => server.session.acks.at(-1) === 21);
  await until(() => storage.items.size === 1);
  await client.close();
  t.equal(storage.items.size, 0);
});

t.test('a full storage is reported once, and everything works except a reload', async (t) => {
  const { server, storage, open, reload } = await page(t);
  const errors: unknown[] = [];
  storage.room = 3_000;
  let client = open();
  client.on('storage', (error) => errors.push(error));
  await state(client, 'open');
  server.onFrame = (session, frame) => pieces(session, frame, 200);
  const turn = client.send('support', 'x'.repeat(5_000), { stream: true });
  t.equal((await turn.text()).split(' ').length, 201);
  await client.send('support', 'x'.repeat(5_000)).result;
  t.match(errors, [{ name: 'QuotaExceededError' }]);
  t.equal(storage.items.size, 0);
  client = await reload();
  t.strictSame(client.pending(), []);
  t.match(await state(client, 'open'), { resumed: false });
});

t.test('once the storage has failed, no answer is kept for it [F-504]', async (t) => {
  const storage = new MemoryStorage();
  const errors: unknown[] = [];
  const store = new SessionStore(storage, 'ws://relay.test/ws', (error) => errors.push(error));
  t.teardown(() => store.release());
  storage.room = 0;
  store.save({ place: undefined, session: 'secret', seq: 0, sent: 0, entries: [], requests: [], threads: [] });
  t.match(errors, [{ name: 'QuotaExceededError' }]);
  store.append('turn', '{"type":"content"}');
  t.strictSame(store.read('turn'), [], 'as of a turn of which nothing is known');
});

t.test('a storage that is broken or holds something else is as good as empty', async (t) => {
  const { storage, key, open, reload } = await page(t);
  storage.items.set(key, '{"tab":');
  const errors: unknown[] = [];
  const client = open();
  client.on('storage', (error) => errors.push(error));
  t.match(await state(client, 'open'), { resumed: false });
  for (const value of ['{}', '[]', '5', '{"chunks":[]}']) {
    storage.items.set(key, value);
    t.match(await state(await reload(), 'open'), { resumed: false }, value);
  }
  t.match(errors, [{ name: 'SyntaxError' }]);
});

for (const entries of [null, [null], 5]) {
  t.test(`[F-536] stored frames that cannot be read are as good as none: ${JSON.stringify(entries)}`, async (t) => {
    const { server, storage, key, open, reload } = await page(t);
    server.onFrame = (session, frame) => pieces(session, frame, 1);
    t.equal(await open().send('support', 'Hello').text(), '0 ');
    storage.items.set(key, JSON.stringify({ ...JSON.parse(storage.getItem(key) ?? '{}'), entries }));
    const client = await reload();
    t.equal(await client.send('support', 'Hello').text(), '0 ');
    t.match(client.state, { resumed: false });
  });
}

t.test('an answer that is too long to be stored still ends, and a loop over it gets an error', async (t) => {
  const { server, open, reload } = await page(t);
  let client = open();
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 12; n++) server.session.emit({ type: 'content', id: turn.id, data: 'x'.repeat(100_000) });
  await until(() => server.session.acks.at(-1) === 12);
  client = await reload();
  const again = client.pending()[0];
  await state(client, 'open');
  server.session.emit({ type: 'done', id: turn.id, data: 'end' });
  t.equal(await again?.result, 'end');
  t.match(await failure(again?.text() ?? Promise.resolve()), { code: 'UNREAD' });
});

t.test('a storage that removes nothing costs the session nothing but a reload [F-540]', async (t) => {
  const { server, storage, open } = await page(t);
  const errors: unknown[] = [];
  const client = open();
  client.on('storage', (error) => errors.push(error));
  client.on('lost', () => t.fail('nothing was lost'));
  storage.removeItem = () => {
    throw new DOMException('denied', 'SecurityError');
  };
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 12; n++) server.session.emit({ type: 'content', id: turn.id, data: 'x'.repeat(100_000) });
  server.session.emit({ type: 'done', id: turn.id, data: 'end' });
  t.equal(await turn.result, 'end');
  t.match(errors, [{ name: 'SecurityError' }]);
});

t.test('if the session is lost meanwhile, the turns of the page before the reload fail', async (t) => {
  const { server, open, reload } = await page(t);
  let client = open();
  client.send('support', 'a');
  await until(() => server.handled.length === 1);
  server.sessions.clear();
  client = await reload();
  t.match(await failure(client.pending()[0]?.result ?? Promise.resolve()), { code: 'SESSION_LOST' });
});

t.test('a piece that is missing in the storage costs the session nothing but its loops', async (t) => {
  const { server, storage, open, reload } = await page(t);
  let client = open();
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 4; n++) server.session.emit({ type: 'content', id: turn.id, data: `${n} ` });
  await until(() => server.session.acks.at(-1) === 4);
  for (const key of storage.items.keys()) if (key.endsWith(`${turn.id}:0`)) storage.items.delete(key);
  client = await reload();
  const again = client.pending()[0];
  t.match(await state(client, 'open'), { resumed: true });
  server.session.emit({ type: 'done', id: turn.id, data: 'end' });
  t.equal(await again?.result, 'end');
  t.match(await failure(again?.text() ?? Promise.resolve()), { code: 'UNREAD' });
});
