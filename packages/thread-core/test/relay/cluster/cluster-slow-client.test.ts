// A session that moves to the node of a client that reads slowly.
import type { Socket } from 'node:net';
import t from 'tap';
import { deferred, type Frame, to, until } from '../helpers.js';
import { type ClusterNode, cluster } from './cluster-helpers.js';

type Pair = [ClusterNode, ClusterNode];

t.test('a session that moves to the node of a slow client: that gets each frame once [S-64]', async (t) => {
  const { agent, nodes } = await cluster(t, 2, {
    lease: 30_000,
    maxBufferedBytes: 65_536,
    resume: { maxBufferedBytes: 256 * 1024 * 1024 },
  });
  const [a, b] = nodes as Pair;
  const gate = deferred();
  const count = 200;
  agent.script('chat.start', async function* () {
    yield 'first';
    await gate.promise;
    for (let piece = 0; piece < count; piece += 1) yield 'x'.repeat(100_000);
  });
  const [first, { session }] = await a.resume();
  first.send(to('support', 'x', { id: 1, stream: true }));
  await first.next();
  const [second, ready] = await b.resume({ session, seq: 1, sent: 1 });
  t.match(ready, { resumed: true, pending: [1] });
  const claiming = deferred();
  b.gates.claim = claiming.promise;
  const socket = (second.socket as unknown as { _socket: Socket })._socket;
  socket.pause();
  gate.resolve();
  await until(() => a.relay.stats().sessions === 0, 'the session to be handed over', 20_000);
  // The client reads on before its node has claimed the session.
  socket.resume();
  const seqs: unknown[] = [];
  let frame: Frame;
  do {
    frame = await second.next();
    seqs.push(frame.seq);
  } while (frame.type !== 'done');
  claiming.resolve();
  second.send(to('support', 'y', { id: 2 }));
  do {
    frame = await second.next();
    seqs.push(frame.seq);
  } while (frame.id !== 2);
  t.strictSame(
    seqs,
    Array.from(seqs, (_, index) => index + 2),
  );
});
