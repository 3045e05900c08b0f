// A WebSocket as browsers have it cannot drop a connection: without a close frame it stays open.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { createThreadClient, type ThreadClient } from '../src/index.js';
import { FAST, state, until } from './world.js';

class BrowserSocket extends WebSocket {}
Object.defineProperty(BrowserSocket.prototype, 'terminate', { value: undefined });

const READY = JSON.stringify({ type: 'ready', session: 's', seq: 0, got: 0, ack: {} });

/** A relay that answers `resume` with what the test says, and by default with nothing that can be read. */
async function broken(t: Test) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const relay = { server, answer: '{', codes: [] as number[] };
  server.on('connection', (socket) => {
    socket.on('message', (data) => String(data).includes('"resume"') && socket.send(relay.answer));
    socket.on('close', (code) => relay.codes.push(code));
  });
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const client: ThreadClient = createThreadClient({ ...FAST, url, WebSocket: BrowserSocket });
  t.teardown(async () => {
    await client.close();
    for (const socket of server.clients) socket.terminate();
    server.close();
  });
  return { relay, client };
}

t.test('sockets that were abandoned are all closed once a session is established [F-405]', async (t) => {
  const { relay, client } = await broken(t);
  await until(() => relay.server.clients.size >= 3);
  t.strictSame(relay.codes, [], 'not before: a close frame would end the session');
  relay.answer = READY;
  await state(client, 'open');
  await until(() => relay.server.clients.size === 1);
  t.equal(client.state.status, 'open');
});

t.test('sockets that were abandoned are all closed with the client [F-405]', async (t) => {
  const { relay, client } = await broken(t);
  await until(() => relay.server.clients.size >= 3);
  await client.close();
  await until(() => relay.server.clients.size === 0);
  t.ok(relay.codes.length >= 3);
});

t.test('sockets that were abandoned are all closed when the relay refuses the client [F-405]', async (t) => {
  const { relay, client } = await broken(t);
  await until(() => relay.server.clients.size >= 3);
  relay.server.on('connection', (socket) => socket.close(4401));
  await state(client, 'closed');
  await until(() => relay.server.clients.size === 0);
  t.match(client.state, { error: { code: 4401 } });
});
