// How much a client keeps: pieces that nobody reads, and messages that wait for a connection.
import { deferred } from '@arc/test-client';
import t from 'tap';
import { WebSocket } from 'ws';
import { pieces } from './resume-server.js';
import { scripted } from './scripted.js';
import { failure, state, until } from './world.js';

t.test('a slow loop holds the acknowledgements back, and reading on releases them', async (t) => {
  const { server, client } = await scripted(t);
  const chunk = 'x'.repeat(100_000);
  const turn = client.send('support', 'a', { stream: true });
  const loop = turn[Symbol.asyncIterator]();
  const first = loop.next();
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 15; n++) server.session.emit({ type: 'content', id: turn.id, data: chunk });
  await first;
  await until(() => server.session.acks.length > 0);
  // All fifteen have arrived once this has.
  server.session.emit({ type: 'content', id: 'other', data: '' });
  const other = client.send('finance', 'b');
  await until(() => server.handled.length === 2);
  server.session.emit({ type: 'done', id: other.id, data: null });
  await other.result;
  t.ok((server.session.acks.at(-1) ?? 0) < 15, `acknowledged up to ${server.session.acks.at(-1)}`);
  for (let n = 0; n < 14; n++) await loop.next();
  await until(() => server.session.acks.at(-1) === server.session.seq);
  server.session.emit({ type: 'done', id: turn.id, data: null });
  t.match(await loop.next(), { done: true });
});

t.test('a turn without a loop holds nothing up, and a loop that begins too late gets an error', async (t) => {
  const { server, client } = await scripted(t);
  const chunk = 'x'.repeat(100_000);
  const turn = client.send('support', 'a', { stream: true });
  await until(() => server.handled.length === 1);
  for (let n = 0; n < 15; n++) server.session.emit({ type: 'content', id: turn.id, data: chunk });
  server.session.emit({ type: 'done', id: turn.id, data: null });
  await turn.result;
  await until(() => server.session.acks.at(-1) === 16);
  t.match(await failure(turn.text()), { code: 'UNREAD' });
});

t.test('more messages than the queue holds fail at once, and the rest is sent', async (t) => {
  const { server, create } = await scripted(t);
  const url = deferred<string>();
  const client = create({ url: () => url.promise });
  const turns = Array.from({ length: 12 }, () => client.send('support', 'x'.repeat(100_000)));
  t.strictSame(
    turns.map(({ settled }) => settled),
    turns.map((_, index) => index >= 10),
  );
  for (const { result } of turns.slice(10)) t.match(await failure(result), { code: 'QUEUE_FULL' });
  t.equal(client.state.status, 'connecting');
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  url.resolve(`ws://127.0.0.1:${server.port}/`);
  const kept = turns.slice(0, 10);
  await Promise.all(kept.map(({ result }) => result));
  t.strictSame(
    server.handled,
    kept.map(({ id }) => id),
  );
});

t.test('a message that is still being sent does not count twice', async (t) => {
  /** As in a browser with a slow network. */
  class SlowWebSocket extends WebSocket {}
  Object.defineProperty(SlowWebSocket.prototype, 'bufferedAmount', { get: () => 600_000 });
  const { server, client } = await scripted(t, { WebSocket: SlowWebSocket });
  server.onFrame = (session, frame) => pieces(session, frame, 1);
  await state(client, 'open');
  const large = client.send('support', 'x'.repeat(600_000));
  t.equal(await client.send('support', 'next').text(), '0 ');
  t.equal(await large.text(), '0 ');
});

t.test('a message that fills the queue can be cancelled, also at its agent [F-539]', async (t) => {
  const { server, client } = await scripted(t);
  server.onFrame = (session, frame) => {
    if (frame.type === 'cancel') session.emit({ type: 'cancelled', id: frame.id });
  };
  await state(client, 'open');
  const turn = client.send('support', 'x'.repeat(1_048_576));
  turn.cancel();
  t.match(await failure(turn.result), { code: 'CANCELLED' });
  await until(() => server.session.frames.length === 2);
  t.match(server.session.frames, [{ id: turn.id }, { type: 'cancel', id: turn.id }]);
});
