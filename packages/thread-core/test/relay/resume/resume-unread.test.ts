// Clients of resumable sessions that send acknowledgements and pings, and read nothing.
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type Client, to, until, type World, type WorldOptions, withDeadline, world } from '../helpers.js';

const KiB64 = 'x'.repeat(65_536);

/** A client with a session that has stopped reading; more than `maxBufferedBytes` wait in its socket, not in its journal. */
async function unread(t: Test, options: WorldOptions): Promise<[World, Client, string]> {
  const all = await world(t, { resume: { maxBufferedBytes: 1024 ** 3 }, maxBufferedBytes: 65_536, ...options });
  all.agent.script('chat.start', async function* () {
    for (;;) yield KiB64;
  });
  const client = await all.connect();
  client.send({ type: 'resume' });
  const { session } = await client.next();
  (client.socket as unknown as { _socket: Socket })._socket.pause();
  client.send(to('a', 'x', { id: 1, stream: true }));
  await until(() => (all.sockets[0]?.bufferedAmount ?? 0) > 65_536, 'the socket is full');
  return [all, client, String(session)];
}

t.test('[F-510] repeated acknowledgements do not save a client that does not read from stalledTimeout', async (t) => {
  const [all, client] = await unread(t, { stalledTimeout: 300 });
  const timer = setInterval(() => client.send({ type: 'ack', seq: 0 }), 50);
  t.teardown(() => clearInterval(timer));
  await withDeadline(all.session.closed, 'the end of the session');
  t.equal(all.relay.stats().pending, 0);
});

t.test('[F-511] a client that does not read is not owed more than maxPending pongs', async (t) => {
  const [all, client] = await unread(t, { stalledTimeout: 0, maxPending: 8, maxBadFrames: 8 });
  // Fewer a second than are allowed.
  const timer = setInterval(() => client.send({ type: 'ping', id: '\0'.repeat(256) }), 20);
  t.teardown(() => clearInterval(timer));
  // The close frame waits behind what the client does not read, but its send is cancelled.
  await until(() => all.relay.stats().pending === 0, 'its pings have been refused', 30_000);
});

t.test('[F-512] a connection that is full is dropped when another takes its session over', async (t) => {
  const [all, , session] = await unread(t, {});
  const second = await all.connect();
  second.send({ type: 'resume', session, seq: 0, sent: 1 });
  t.match(await second.next(), { type: 'ready', resumed: true });
  const { _socket: first } = all.sockets[0] as unknown as { _socket: Socket | null };
  t.ok(first === null || first.destroyed, 'at once');
});
