import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { AddressInfo, Socket } from 'node:net';
import t from 'tap';
import { WebSocketServer } from 'ws';
import { type Client, maskedText, to, withDeadline, world } from '../helpers.js';

const require = createRequire(import.meta.url);
const { Server: WebSocketServer7 } = createRequire(require.resolve('express-ws'))('ws') as {
  Server: typeof WebSocketServer;
};

/** By itself ws 8 would drop a client 30 seconds after the close frame. Its types do not have this. */
const PATIENT: object = { closeTimeout: 3_600_000 };

/** A masked close frame. */
function maskedClose(code: number): Buffer {
  return Buffer.from([0x88, 0x82, 0, 0, 0, 0, code >> 8, code & 0xff]);
}

/** An upgraded connection to a port that does not read, and keeps its TCP connection open. */
async function connectTo(port: number, all: { connectRaw(port?: number): Promise<Socket> }): Promise<Socket> {
  const socket = await all.connectRaw(port);
  socket.pause();
  return socket;
}

for (const [version, Server] of [
  ['ws 8', WebSocketServer],
  ['ws 7', WebSocketServer7],
] as const) {
  t.test(
    `${version}: a close frame ends the session, and the open TCP connection is dropped [F-262] [F-535] [S-41]`,
    async (t) => {
      const all = await world(t, { maxSessions: 1 });
      const server = new Server({ host: '127.0.0.1', port: 0, ...PATIENT });
      await once(server, 'listening');
      t.teardown(() => server.close());
      const sessions: ReturnType<typeof all.relay.attach>[] = [];
      server.on('connection', (socket, request) => {
        sessions.push(all.relay.attach(socket, request, { identity: 'me' }));
      });
      const { port } = server.address() as AddressInfo;
      const raw = await connectTo(port, all);
      t.teardown(() => raw.destroy());
      all.agent.script('chat.start', async function* () {
        yield 'the beginning';
        await new Promise(() => {});
      });
      raw.write(maskedText(JSON.stringify(to('a', 'x', { stream: true }))));
      await all.agent.waitFor(({ counters }) => counters.running === 1);
      raw.write(maskedClose(1000));
      await all.agent.waitFor(({ counters }) => counters.aborted === 1 && counters.ended === 1);
      t.match(all.relay.stats(), { threads: 0, pending: 0 });
      t.match(all.relay.sessions.size, 1, 'its TCP connection is open');
      await withDeadline((sessions[0] as (typeof sessions)[number]).closed, 'the end of the TCP connection');
      const next = await connectTo(port, all);
      t.teardown(() => next.destroy());
      next.write(maskedText(JSON.stringify(to('b'))));
      await all.agent.waitFor(({ counters }) => counters.started === 2);
      t.equal(sessions.length, 2, 'its slot is released');
    },
  );
}

t.test('the application may close the socket itself: the session ends as with a close frame [S-41]', async (t) => {
  const all = await world(t);
  const client: Client = await all.connect();
  await client.ask(to('a'));
  all.sockets[0]?.close(4321, 'by the application');
  t.strictSame(await client.closed, { code: 4321, reason: 'by the application' });
  t.match(await withDeadline(all.session.closed, 'the end of the session'), [{ agentId: 'a', ok: true }]);
});
