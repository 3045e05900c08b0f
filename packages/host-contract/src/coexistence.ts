import { createServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';
import type { Test } from 'tap';
import { WebSocketServer } from 'ws';
import { Client, heldAuthentication, RawClient, until, upgrade, upgradeText, withDeadline } from './client.js';
import type { Declare, Host } from './host.js';
import { type WorldOptions, world } from './world.js';

/** The app that has a server to which `attach` adds another library. */
type SiteOf = (attach: (server: HttpServer) => void) => WorldOptions;

/** Another library's WebSockets on the same server. */
export function coexistence(declare: Declare, host: Host): void {
  const orders: [order: string, site: SiteOf][] = [
    ['registered before', (attach) => ({ server: (listener) => createServer(listener), beforeAttach: attach })],
    ['registered after', (attach) => ({ server: (listener) => createServer(listener), afterAttach: attach })],
    ['on the server that listen gave', (attach) => ({ afterAttach: attach })],
  ];
  foreignListeners(declare, host, orders);
  declare('Socket.IO does not end an upgrade that authenticate holds for long', ['coexistence'], async (t) => {
    const held = heldAuthentication();
    const other = new Server({ serveClient: false, destroyUpgradeTimeout: 1 });
    const { url, port } = await world(t, host, {
      afterAttach: (server) => void other.attach(server),
      options: { authenticate: held.authenticate },
    });
    const client = new Client(url);
    await until(() => held.asked === 1, 'authenticate is called');
    const unknown = new RawClient(port, upgradeText('/nobody'));
    const ended = new Promise((resolve) => unknown.socket.once('end', resolve));
    await withDeadline(ended, 'Socket.IO to end an unknown upgrade');
    unknown.socket.destroy();
    held.open();
    await withDeadline(client.opened, 'the held one to be accepted');
    t.equal(await client.say('a'), 'a #1: hello');
    client.socket.close();
    await other.close();
  });

  for (const [order, site] of orders) {
    declare(`Socket.IO ${order} keeps working on the same server`, ['coexistence'], async (t) => {
      const library = socketIo();
      const { connect, port, app } = await world(
        t,
        host,
        site((server) => void library.attach(server)),
      );
      const talk = await connectSocketIo(t, port, ['polling', 'websocket']);
      const client = await connect();
      t.equal(await client.say('a', 'one'), 'a #1: one');
      const other = await connectSocketIo(t, port, ['websocket']);
      for (const text of ['x', 'y']) {
        t.equal(await talk(text), `echo ${text}`);
        t.equal(await other(text), `echo ${text}`);
      }
      t.equal(await client.say('a', 'two'), 'a #2: two');
      t.equal((await upgrade(port, '/ws', { origin: 'https://elsewhere.example' })).status, 403);
      library.disconnectSockets(true);
      await Promise.all([withDeadline(app.close(), 'the app to close'), library.close()]);
      t.equal((await client.closed).code, 1001);
    });
  }
}

/** Adds the listeners that other libraries have for upgrades; each deals badly with those that are not its own. */
type Library = (server: HttpServer, seen: string[]) => void;

const libraries: Record<string, Library> = {
  'a ws server with a path, which answers 400 to every other': (server) => {
    const sockets = new WebSocketServer({ server, path: '/other' });
    sockets.on('connection', (socket) => socket.on('message', (text) => socket.send(text.toString())));
  },
  'a listener that destroys what it does not know': (server, seen) => {
    const sockets = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      seen.push(request.url ?? '');
      if (request.url !== '/other') return socket.destroy();
      sockets.handleUpgrade(request, socket, head, (other) => {
        other.on('message', (text) => other.send(text.toString()));
      });
    });
  },
};

function foreignListeners(declare: Declare, host: Host, orders: [order: string, site: SiteOf][]): void {
  for (const [what, add] of Object.entries(libraries)) {
    for (const [order, site] of orders) {
      declare(`${what}, ${order}: it gets its own upgrades and none of the relay's`, ['coexistence'], async (t) => {
        const seen: string[] = [];
        const { connect, port, url } = await world(
          t,
          host,
          site((server) => add(server, seen)),
        );
        for (const path of ['/ws', '/ws/', '/WS?x']) {
          const client = await Client.open(url.replace('/ws', path).replace('/WS', '/ws'));
          t.equal(await client.say('a'), 'a #1: hello', path);
        }
        const other = await Client.open(`ws://127.0.0.1:${port}/other`);
        t.match(await other.exchange({ type: 'pong', id: 1 }), [{ type: 'pong', id: 1 }]);
        t.strictSame(
          seen.filter((path) => path !== '/other'),
          [],
        );
        await (await connect()).say('a');
        other.socket.close();
      });
    }
  }
}

/** A Socket.IO server that echoes. */
export function socketIo(): Server {
  const server = new Server({ serveClient: false });
  server.on('connection', (socket) => socket.on('echo', (text, answer) => answer(`echo ${text}`)));
  return server;
}

/** A Socket.IO client that is connected by WebSocket. */
export async function connectSocketIo(
  t: Test,
  port: number,
  transports: string[],
): Promise<(text: string) => Promise<string>> {
  const socket = io(`http://127.0.0.1:${port}`, { transports, reconnection: false, forceNew: true });
  t.teardown(() => socket.close());
  const connected = new Promise<void>((resolve, reject) => {
    socket.on('connect', resolve);
    socket.on('connect_error', reject);
  });
  await withDeadline(connected, 'Socket.IO to connect');
  const { engine } = socket.io;
  const upgraded = new Promise<unknown>((resolve) => engine.once('upgrade', resolve));
  if (engine.transport.name !== 'websocket') await withDeadline(upgraded, 'Socket.IO to upgrade');
  return (text) => withDeadline(socket.emitWithAck('echo', text), 'Socket.IO to answer');
}
