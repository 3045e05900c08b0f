import { once } from 'node:events';
import t from 'tap';
import type { WebSocket } from 'ws';
import { type Client, type Frame, type Json, to, type World, world } from '../helpers.js';

async function open(all: World, resume: Json = {}): Promise<[Client, Frame]> {
  const client = await all.connect();
  client.send({ type: 'resume', ...resume });
  return [client, await client.next()];
}

t.test(
  'a relay that closes a resumable session answers what is pending first, in numbered frames [F-45]',
  async (t) => {
    const closings: Record<string, [code: number, close: (all: World, client: Client) => void]> = {
      'a binary frame': [1003, (_all, { socket }) => socket.send(Buffer.from('{}'))],
      'the application': [4000, ({ session }) => session.close(4000)],
      'a bad frame': [4429, (_all, client) => client.send('bad')],
      'the end of the server': [1001, ({ relay }) => void relay.close({ timeout: 0 })],
    };
    for (const [what, [code, close]] of Object.entries(closings)) {
      const all = await world(t, { resume: true, maxBadFrames: 1 });
      const [client] = await open(all);
      const gate = all.agent.hold();
      client.send(to('a', 'x', { id: 1 }), to('a', 'x', { id: 2 }));
      await gate.arrived;
      await all.received(3);
      close(all, client);
      t.equal((await client.closed).code, code, what);
      gate.release();
      await all.session.closed;
      const frames = client.texts.map((text) => JSON.parse(text) as Frame);
      const cancelled = frames.filter(({ type }) => type === 'cancelled');
      const first = frames.length - 1;
      t.match(cancelled, [
        { id: 1, seq: first },
        { id: 2, seq: first + 1 },
      ]);
      t.equal(cancelled.length, 2, what);
    }
  },
);

t.test('frames of the types resume, ack and ping are not counted, even if they are not valid [F-279]', async (t) => {
  const all = await world(t, { resume: true, frameRate: 4 });
  const [client, { session }] = await open(all);
  const uncounted = [
    { type: 'ping', id: {} },
    { type: 'ack' },
    { type: 'ack', seq: 'x' },
    { type: 'ack', seq: 99 },
    { type: 'resume', session: 5 },
    { type: 'resume' },
    { type: 'ping', id: 1.5 },
    { type: 'ping', id: 1.5 },
  ];
  client.send(...uncounted);
  t.ok((await client.all(uncounted.length)).every(({ type }) => type === 'error'));
  client.send('not JSON', '[]', { type: 'unknown' });
  await client.all(3);
  const gone = once(all.sockets[0] as WebSocket, 'close');
  client.socket.terminate();
  await gone;
  const [, ready] = await open(all, { session, seq: 0, sent: 3 });
  t.match(ready, { resumed: true, got: 3 });
});

t.test('a resume that is not valid begins no session, and cannot be repeated on its connection [F-433]', async (t) => {
  const all = await world(t, { resume: true });
  const [client, answer] = await open(all, { session: 'x', seq: 'y', sent: 0 });
  t.match(answer, { type: 'error', data: { code: -32_600, message: /^seq: / } });
  t.equal(answer.seq, undefined);
  client.send({ type: 'resume' });
  t.match(await client.next(), { type: 'error', data: { code: -32_600, message: /^type: / } });
  t.equal((await client.ask(to('a'))).seq, undefined, 'messages are answered, without numbers');
});

t.test('an ack repeats the one before, or names a later frame that was sent [F-434]', async (t) => {
  const all = await world(t, { resume: true });
  const [client] = await open(all);
  for (const id of [1, 2, 3]) await client.ask(to('a', 'x', { id }));
  const ack = (seq: number): Json => ({ type: 'ack', seq });
  client.send(ack(2), ack(2), ack(3), ack(3), { type: 'ping', id: 'all accepted' });
  t.match(await client.next(), { type: 'pong', id: 'all accepted' });
  for (const seq of [2, 99, -1, 3.5]) {
    client.send(ack(seq));
    t.match(await client.next(), { type: 'error', data: { code: -32_600, message: /^seq: / } }, `${seq}`);
  }
});
