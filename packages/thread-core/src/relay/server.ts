import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Relay } from './relay.js';

/** A socket, and the answer that Node is writing to it. */
type AnsweredSocket = Socket & { _httpMessage?: ServerResponse | null };

/** Gives an upgrade to the framework; false where it would not have it. */
export type HandOver = (request: IncomingMessage, socket: Socket, head: Buffer) => boolean;

/** Upgrades that are on their way through a framework. */
const upgrades = new WeakMap<IncomingMessage, ServerResponse>();

/** For each server, who decides which upgrades are this package's. */
const owners = new WeakMap<Server, ((request: IncomingMessage) => boolean)[]>();

/**
 * Has a server's upgrades run through its own request listeners, as any request does, so that middleware comes first
 * and a refusal is a real HTTP answer; and closes the relay with the server. Another library's upgrades are left to it:
 * `isOwn` tells them apart, and where nobody else listens, all are run. A framework that has a way of its own for
 * upgrades gets them by `handOver`.
 */
export function serveUpgrades(
  server: Server,
  relay: Relay,
  isOwn: (request: IncomingMessage) => boolean,
  handOver: HandOver = () => false,
): void {
  closeWith(server, relay);
  const known = owners.get(server);
  if (known !== undefined) {
    known.push(isOwn);
    return;
  }
  const all = [isOwn];
  owners.set(server, all);
  server.on('upgrade', (request: IncomingMessage, socket: AnsweredSocket, head: Buffer) => {
    if (server.listenerCount('upgrade') > 1 && !all.some((check) => check(request))) return;
    const { _httpMessage: answer } = socket;
    // Another listener has it already.
    if (answer?.req === request) return;
    // It came behind a request that is not answered yet, whose answer would end up among the frames.
    if (answer) return socket.destroy();
    // Node leaves an upgraded socket without these, and half open where the peer has gone.
    socket.on('error', destroy);
    socket.on('drain', passOnDrain);
    socket.allowHalfOpen = false;
    if (!handOver(request, socket, head)) run(server, request, socket, head);
    // An answer that the framework gives in place of the upgrade is the last thing on this socket.
    socket._httpMessage?.on('finish', endSocket);
  });
}

function destroy(this: Socket): void {
  this.destroy();
}

/** Lets go of an upgraded socket whose errors a WebSocket hears: two that hear them would have to be kept in a list. */
export function leaveErrors(socket: Socket | undefined): void {
  socket?.off('error', destroy);
}

function passOnDrain(this: AnsweredSocket): void {
  this._httpMessage?.emit('drain');
}

function endSocket(this: ServerResponse): void {
  this.socket?.destroySoon();
}

function run(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers;
  if (length !== '0' || encoding !== undefined) {
    // Node reads no body of an upgrade: the app would take it for an empty one.
    response.writeHead(400).end('An upgrade has no body');
    return;
  }
  if (head.length > 0) socket.unshift(head);
  upgrades.set(request, response);
  server.emit('request', request, response);
}

/** Whether a request asks for a WebSocket. */
export function isUpgrade({ headers: { upgrade, connection = '' } }: IncomingMessage): boolean {
  return upgrade?.toLowerCase() === 'websocket' && /(^|[,\s])upgrade($|[,\s])/i.test(connection);
}

/**
 * Takes the socket of an upgrade out of its response's hands, for a WebSocket server to accept it; once.
 * @throws NotAttachedError where the upgrade did not come through `serveUpgrades`: then Node's HTTP parser is still on
 * the socket, and would end it
 */
export function takeUpgrade(request: IncomingMessage, adapter: string): Socket {
  const response = upgrades.get(request);
  if (response === undefined) throw new NotAttachedError(adapter);
  upgrades.delete(request);
  const { socket } = request;
  // That for errors stays until there is a WebSocket: who takes the socket may have others to ask before.
  socket.off('drain', passOnDrain);
  response.off('finish', endSocket);
  response.detachSocket(socket);
  // For what watches over the answer, to log it or to report what becomes of its socket, this was the answer.
  response.statusCode = 101;
  response.emit('finish');
  response.emit('close');
  return socket;
}

/**
 * Whether a request's path is one of these, or below one, whatever the case of its letters. Of a pattern the part that
 * does not vary counts, so that it is rather too much than too little.
 */
export function isBelow(request: IncomingMessage, paths: readonly string[]): boolean {
  // The target may be in the absolute form (RFC 9112, 3.2.2).
  const target = (request.url ?? '').replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '');
  const [path = ''] = target.toLowerCase().split(/[?#]/, 1);
  return paths.some((one) => {
    const [constant = ''] = one.toLowerCase().split(/.[?*+]|[*:(){}[\]\\]/, 1);
    if (constant.length < one.length) return path.startsWith(constant);
    const place = constant.replace(/\/$/, '');
    return path === place || path === `${place}/` || (place !== '' && path.startsWith(`${place}/`));
  });
}

/** For each server, the relays to close with it, and whether that has begun. */
const closing = new WeakMap<Server, { relays: Set<Relay>; hasBegun: boolean }>();

/** Closes the relay when the server is closed: `http.Server` has no hook for it, and waits for open sockets for ever. */
export function closeWith(server: Server, relay: Relay): void {
  const known = closing.get(server);
  if (known !== undefined) {
    known.relays.add(relay);
    if (known.hasBegun) void relay.close();
    return;
  }
  const state = { relays: new Set([relay]), hasBegun: false };
  closing.set(server, state);
  const close = server.close;
  server.close = (callback) => {
    state.hasBegun = true;
    const closed = Promise.allSettled([...state.relays].map((one) => one.close()));
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
