// Idle connections to agents are closed here before the agent's server closes them.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type net from 'node:net';
import t, { type Test } from 'tap';
import { answer, connect, http, pair, START } from './support.js';

const BODY = answer().toString().split('\r\n\r\n')[1] ?? '';

/** A server that closes idle connections after so long, and which side closed the connection first. */
async function whoCloses(t: Test, serverTimeout: number, options: object, header?: string): Promise<string> {
  const server = createServer((req, res) => {
    req.resume();
    res.setHeader('content-type', 'application/json');
    res.setHeader('connection', 'keep-alive');
    if (header !== undefined) res.setHeader('keep-alive', header);
    res.end(BODY);
  });
  // Node closes a second later than it says.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  const first = new Promise<string>((resolve) => {
    server.on('connection', (socket: net.Socket) => {
      socket.on('end', () => resolve('the client'));
      socket.setTimeout(serverTimeout, () => {
        resolve('the server');
        socket.destroy();
      });
    });
  });
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const client = connect(t, { url: `http://127.0.0.1:${port}` }, options);
  await client.chat.start(START);
  return first;
}

t.test('an idle connection is closed before gunicorn does, after 2 seconds', async (t) => {
  t.equal(await whoCloses(t, 2000, {}), 'the client');
});

t.test('`Keep-Alive: timeout=` of the agent is honoured', async (t) => {
  t.equal(await whoCloses(t, 2000, { keepAliveTimeout: 60_000 }, 'timeout=2'), 'the client');
});

t.test('keepAliveTimeout says how long idle connections are kept', async (t) => {
  t.equal(await whoCloses(t, 300, { keepAliveTimeout: 1 }), 'the client');
  t.equal(await whoCloses(t, 300, { keepAliveTimeout: 60_000 }), 'the server');
});

t.test('a connection that is used again is kept', async (t) => {
  const { peer, client } = await pair(t, http(200, BODY, { 'content-type': 'application/json' }));
  for (let i = 0; i < 20; i++) await client.chat.start(START);
  t.ok(peer.connections <= 2);
});
