import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Relay } from './relay.js';

/** An upgrade that is on its way through a framework. */
interface Upgrade {
  socket: Socket;
  response: ServerResponse;
}

const upgrades = new WeakMap<IncomingMessage, Upgrade>();

/** For each server, who decides which upgrades are this package's. */
const owners = new WeakMap<Server, ((request: IncomingMessage) => boolean)[]>();

/**
 * Has a server's upgrades run through its own request listeners, as any request does, so that middleware comes first
 * and a refusal is a real HTTP answer; and closes the relay with the server. Another library's upgrades are left to it:
 * `isOwn` tells them apart, and where nobody else listens, all are run.
 */
export function serveUpgrades(server: Server, relay: Relay, isOwn: (request: IncomingMessage) => boolean): void {
  closeWith(server, relay);
  const known = owners.get(server);
  if (known !== undefined) {
    known.push(isOwn);
    return;
  }
  const all = [isOwn];
  owners.set(server, all);
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const isForeign = server.listenerCount('upgrade') > 1 && !all.some((check) => check(request));
    if (!isForeign) run(server, request, socket, head);
  });
}

function run(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
  // Node leaves an upgraded socket without an error listener, and half open where the peer has gone.
  socket.on('error', () => socket.destroy());
  socket.allowHalfOpen = false;
  if (head.length > 0) socket.unshift(head);
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.on('finish', () => socket.destroySoon());
  upgrades.set(request, { socket, response });
  server.emit('request', request, response);
}

/** Whether a request asks for a WebSocket. */
export function isUpgrade(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket';
}

/**
 * Takes the socket of an upgrade out of its response's hands, for a WebSocket server to accept it. Undefined where the
 * upgrade did not come through `serveUpgrades`: then Node's HTTP parser is still on the socket, and would end it.
 */
export function takeUpgrade(request: IncomingMessage): Socket | undefined {
  const upgrade = upgrades.get(request);
  if (upgrade === undefined) return undefined;
  upgrades.delete(request);
  upgrade.response.detachSocket(upgrade.socket);
  return upgrade.socket;
}

const closing = new WeakMap<Server, Set<Relay>>();

/** Closes the relay when the server is closed: `http.Server` has no hook for it, and waits for open sockets for ever. */
export function closeWith(server: Server, relay: Relay): void {
  const relays = closing.get(server);
  if (relays !== undefined) {
    relays.add(relay);
    return;
  }
  const all = new Set([relay]);
  closing.set(server, all);
  const close = server.close;
  server.close = (callback) => {
    const closed = Promise.all([...all].map((one) => one.close()));
    return close.call(server, (error) => {
      void closed.then(() => callback?.(error));
    });
  };
}

/** An upgrade came as a plain request: nothing has the server's upgrades run through the app. */
export class NotAttachedError extends Error {
  constructor(adapter: string) {
    super(
      `${adapter}: a WebSocket upgrade came in as a plain request, because the adapter does not know the server. ` +
        'Call arc(...).attach(server) with your http.Server before it listens.',
    );
    this.name = 'NotAttachedError';
  }
}
