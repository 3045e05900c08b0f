// What a reader of a stream can rely on.
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { ArcStream } from '../../src/client/stream.js';
import {
  chunk,
  cut,
  cutStream,
  DONE,
  drain,
  event,
  failure,
  LAST_CHUNK,
  pair,
  piece,
  reasonOf,
  refusal,
  STREAM,
  STREAM_HEAD,
  stream,
  writeApart,
} from './support.js';

/** A stream of one event that stays open. */
const OPEN = STREAM_HEAD + chunk(event('stream', piece('a')));

t.test('for await gives the events in order, and ends with done', async (t) => {
  const { client } = await pair(t, stream(['a', 'b', 'c'].map((text) => event('stream', piece(text))).join('') + DONE));
  const asked = await client.chat.start(STREAM);
  t.ok(asked instanceof ArcStream);
  const seen: unknown[] = [];
  for await (const { event, data } of asked) seen.push([event, (data as { done?: boolean }).done]);
  t.same(seen, [
    ['content', undefined],
    ['content', undefined],
    ['content', undefined],
    ['done', true],
  ]);
});

t.test('ten thousand events arrive in order, whatever their chunks', async (t) => {
  const body = Array.from({ length: 10_000 }, (_, i) => event('stream', { chatId: 'c1', i })).join('') + DONE;
  const { client } = await pair(t, (socket) =>
    writeApart(socket, [STREAM_HEAD, ...[...cut(Buffer.from(body), 1013, 7, 4096)].map(chunk), LAST_CHUNK]),
  );
  let i = 0;
  for await (const { event, data } of await client.chat.start(STREAM)) {
    if (event === 'done') break;
    if ((data as { i: number }).i !== i++) t.fail(`out of order at ${i}`);
  }
  t.equal(i, 10_000);
});

t.test('ten thousand events arrive in order at a slow reader', async (t) => {
  const body = Array.from({ length: 10_000 }, (_, i) => event('stream', { i })).join('') + DONE;
  const { client } = await pair(t, (socket) => {
    socket.write(STREAM_HEAD);
    for (const each of cut(Buffer.from(body), 5000)) socket.write(chunk(each));
    socket.write(LAST_CHUNK);
  });
  let i = 0;
  for await (const { event, data } of await client.chat.start(STREAM)) {
    if (event === 'done') break;
    if (i % 100 === 0) await turn();
    if ((data as { i: number }).i !== i++) t.fail(`out of order at ${i}`);
  }
  t.equal(i, 10_000);
});

t.test('leaving the loop early closes the agent’s connection', async (t) => {
  const { peer, client } = await pair(t, OPEN);
  for await (const _ of await client.chat.start(STREAM)) break;
  await peer.until(() => peer.open === 0);
  t.equal(peer.connections, 1, 'and opens no other');
});

t.test('a loop that throws closes the agent’s connection', async (t) => {
  const { peer, client } = await pair(t, OPEN);
  const mine = new Error('mine');
  const loop = async (): Promise<void> => {
    for await (const _ of await client.chat.start(STREAM)) throw mine;
  };
  t.equal(await reasonOf(loop()), mine);
  await peer.until(() => peer.open === 0);
});

t.test('leaving the loop at done leaves the connection as it is', async (t) => {
  const { peer, client } = await pair(t, stream(event('stream', piece('a')) + DONE), { connections: 1 });
  for (let i = 0; i < 3; i++) {
    for await (const { event } of await client.chat.start(STREAM)) if (event === 'done') break;
  }
  t.equal(peer.connections, 1);
});

t.test('cancel closes the agent’s connection, drops unread events, and ends a pending next()', async (t) => {
  const { peer, client } = await pair(t, [
    STREAM_HEAD + chunk(event('stream', piece('a')) + event('stream', piece('b'))),
    OPEN,
  ]);
  const asked = await client.chat.start(STREAM);
  asked.cancel();
  asked.cancel();
  t.same(await drain(asked), { events: [] });
  await peer.until(() => peer.open === 0);

  const other = await client.chat.start(STREAM);
  await other.next();
  const waiting = other.next();
  other.cancel();
  t.same(await waiting, { value: undefined, done: true });
  t.same(await other.next(), { value: undefined, done: true });
  await peer.until(() => peer.open === 0);
  t.equal(peer.connections, 2);
});

t.test('cancel after the end changes nothing but what was not read', async (t) => {
  const { client } = await pair(t, [
    stream(event('stream', piece('a')) + DONE),
    cutStream(event('stream', piece('a'))),
  ]);
  const asked = await client.chat.start(STREAM);
  asked.cancel();
  t.same(await drain(asked), { events: [] });
  const broken = await client.chat.start(STREAM);
  t.match((await drain(broken)).error, { code: -43104 });
  broken.cancel();
  t.same(await drain(broken), { events: [] });
});

t.test('a failure is thrown once, and is the end', async (t) => {
  const { client } = await pair(t, [cutStream(event('stream', piece('a'))), OPEN]);
  const asked = await client.chat.start(STREAM);
  t.equal((await asked.next()).done, false);
  t.match(await failure(asked.next()), { code: -43104 });
  t.same(await asked.next(), { value: undefined, done: true });

  // The same where somebody waits for it already.
  const other = await client.chat.start({ ...STREAM });
  await other.next();
  const waiting = failure(other.next());
  await client.close();
  t.match(await waiting, { code: -41003 });
  t.same(await other.next(), { value: undefined, done: true });
});

t.test('iterating a stream again gives nothing more', async (t) => {
  const { client } = await pair(t, stream(event('stream', piece('a')) + DONE));
  const asked = await client.chat.start(STREAM);
  t.equal((await drain(asked)).events.length, 2);
  t.same(await drain(asked), { events: [] });
  t.same(await asked.next(), { value: undefined, done: true });
  t.same(await asked.return(), { value: undefined, done: true });
});

t.test('next() before the last one was answered is refused, and takes nothing away', async (t) => {
  let goOn = (): void => {};
  const { client } = await pair(t, (socket) => {
    socket.write(OPEN);
    goOn = () => socket.write(chunk(event('stream', piece('b')) + DONE) + LAST_CHUNK);
  });
  const asked = await client.chat.start(STREAM);
  await asked.next();
  const waiting = asked.next();
  t.match(await reasonOf(asked.next()), { name: 'TypeError', message: /next\(\)/ });
  goOn();
  t.match(await waiting, { value: { data: piece('b') }, done: false });
  t.match(await asked.next(), { value: { event: 'done' } });
});

t.test('a stream that fails before it is read causes no unhandled rejection', async (t) => {
  const uncaught: unknown[] = [];
  const record = (reason: unknown): void => void uncaught.push(reason);
  process.on('unhandledRejection', record);
  t.teardown(() => process.off('unhandledRejection', record));
  const { peer, client } = await pair(t, cutStream(event('stream', piece('a'))));
  const asked = await client.chat.start(STREAM);
  // The client closes its side once it has seen the end, which comes after all else.
  await peer.until(() => peer.connections === 1 && peer.open === 0);
  await turn();
  t.strictSame(uncaught, []);
  t.match(await drain(asked), { events: [{ data: piece('a') }], error: { name: 'StreamInterruptedError' } });
});

t.test('a stream that is refused first thing is an event', async (t) => {
  const { client } = await pair(t, [
    stream(event('error', { error: { code: -43001, message: 'gone' } })),
    refusal({ code: -43001, message: 'gone' }),
  ]);
  t.match((await drain(await client.chat.start(STREAM))).events, [
    { event: 'error', data: { error: { code: -43001 } } },
  ]);
  t.equal((await failure(client.chat.start(STREAM))).code, -43001, 'and an envelope is a rejection');
});

t.test('a reader that pauses stops the agent, and gets everything when it continues', async (t) => {
  const COUNT = 3000;
  const block = 'x'.repeat(10_000);
  let written = 0;
  let blocked = false;
  const { peer, client } = await pair(
    t,
    [
      async (socket) => {
        socket.write(STREAM_HEAD);
        for (; written < COUNT; written++) {
          if (socket.write(chunk(event('stream', { i: written, block })))) continue;
          blocked = true;
          await new Promise((resolve) => socket.once('drain', resolve));
          blocked = false;
        }
        socket.write(chunk(DONE) + LAST_CHUNK);
      },
      (socket) => socket.write(STREAM_HEAD),
    ],
    { streamIdleTimeout: 250 },
  );
  const asked = await client.chat.start(STREAM);
  await asked.next();
  // The stream is not read. The agent's socket fills up, and stays full for longer than the time-out of a silent agent.
  await peer.until(() => blocked);
  for (let before = -1; before !== written; ) {
    before = written;
    t.match(await failure(client.chat.start(STREAM)), { code: -43104 });
  }
  t.equal(blocked, true);
  t.ok(written < COUNT, `${written} of ${COUNT} events left the agent`);
  let i = 1;
  for await (const { event, data } of asked) {
    if (event !== 'done' && (data as { i: number }).i !== i++) t.fail(`out of order at ${i}`);
  }
  t.equal(i, COUNT);
});

t.test('done behind many unread events ends the answer, and its connection is used again', async (t) => {
  const body = event('stream', piece('a')).repeat(200) + DONE;
  const { peer, client } = await pair(t, stream(body), { connections: 1 });
  const first = await client.chat.start(STREAM);
  const second = await client.chat.start(STREAM);
  t.equal((await drain(second)).events.length, 201);
  t.equal((await drain(first)).events.length, 201);
  t.equal(peer.connections, 1);
});

t.test('a paused stream can be cancelled', async (t) => {
  const { peer, client } = await pair(t, STREAM_HEAD + chunk(event('stream', piece('a')).repeat(100)));
  const asked = await client.chat.start(STREAM);
  asked.cancel();
  await peer.until(() => peer.open === 0);
  t.same(await drain(asked), { events: [] });
});

t.test('a paused stream whose agent goes away gives what has come, then fails', async (t) => {
  const { peer, client } = await pair(t, (socket) =>
    socket.end(STREAM_HEAD + chunk(event('stream', piece('a')).repeat(100))),
  );
  const asked = await client.chat.start(STREAM);
  await peer.until(() => peer.requests.length === 1);
  const { events, error } = await drain(asked);
  t.equal(events.length, 100);
  t.match(error, { code: -43104 });
});
