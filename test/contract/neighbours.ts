import { createServer, type Server as HttpServer } from 'node:http';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import type { Test } from 'tap';
import { soon, upgrade } from './client.js';
import type { Declare } from './contract.js';
import type { Host } from './host.js';
import { type Wanted, world } from './world.js';

/** Another library's WebSockets on the same server. */
export function neighbours(declare: Declare, host: Host): void {
  const orders: [order: string, site: (attach: (server: HttpServer) => void) => Wanted][] = [
    ['registered before', (attach) => ({ server: (listener) => createServer(listener), first: attach })],
    ['registered after', (attach) => ({ server: (listener) => createServer(listener), last: attach })],
    ['on the server that listen gave', (attach) => ({ last: attach })],
  ];
  for (const [order, site] of orders) {
    declare(`Socket.IO ${order} goes on working beside it`, ['neighbours'], async (t) => {
      const neighbour = socketIo();
      const { connect, port, app } = await world(
        t,
        host,
        site((server) => void neighbour.attach(server)),
      );
      const talk = await talkTo(t, port, ['polling', 'websocket']);
      const client = await connect();
      t.equal(await client.say('a', 'one'), 'a #1: one');
      const other = await talkTo(t, port, ['websocket']);
      for (const text of ['x', 'y']) {
        t.equal(await talk(text), `echo ${text}`);
        t.equal(await other(text), `echo ${text}`);
      }
      t.equal(await client.say('a', 'two'), 'a #2: two');
      t.equal((await upgrade(port, '/ws', { origin: 'https://elsewhere.example' })).status, 403);
      neighbour.disconnectSockets(true);
      await Promise.all([soon(app.close(), 'the app to close'), neighbour.close()]);
      t.equal((await client.closed).code, 1001);
    });
  }
}

/** A Socket.IO server that answers what it is told. */
export function socketIo(): Server {
  const server = new Server({ serveClient: false });
  server.on('connection', (socket) => socket.on('echo', (text, answer) => answer(`echo ${text}`)));
  return server;
}

/** A Socket.IO client that has come to talk by WebSocket. */
export async function talkTo(t: Test, port: number, transports: string[]): Promise<(text: string) => Promise<string>> {
  const socket = io(`http://127.0.0.1:${port}`, { transports, reconnection: false, forceNew: true });
  t.teardown(() => socket.close());
  const connected = new Promise<void>((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  await soon(connected, 'Socket.IO to connect');
  const { engine } = socket.io;
  const upgraded = new Promise<unknown>((resolve) => engine.once('upgrade', resolve));
  if (engine.transport.name !== 'websocket') await soon(upgraded, 'Socket.IO to upgrade');
  return (text) => soon(socket.emitWithAck('echo', text), 'Socket.IO to answer');
}
