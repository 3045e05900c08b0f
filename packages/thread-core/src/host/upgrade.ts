import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { endUpgradeSocket, guardUpgradeSocket, isUpgrade } from '../relay/admission/upgrade-socket.js';
import type { Relay } from '../relay/relay.js';
import { serveAsPlainRequest } from './plain-request.js';
import { closeWith } from './shutdown.js';

/** A socket, and the response that Node is writing to it. */
type AnsweredSocket = Socket & { _httpMessage?: ServerResponse | null };

/** Gives an upgrade to the framework; false if the framework does not take it. */
export type UpgradeHandler = (request: IncomingMessage, socket: Socket, head: Buffer) => boolean;

/** The upgrades of a server that one relay claims. */
interface Claim {
  readonly relay: Relay;
  isOwn(request: IncomingMessage): boolean;
  handle: UpgradeHandler;
}

/** Listeners that take the upgrades that no other library does. */
const fallbacks = new WeakSet<object>();

/** The claims of each server whose upgrades are served. */
const claimsOf = new WeakMap<Server, Claim[]>();

/** Upgrades that are on their way through an app. */
const pending = new WeakMap<IncomingMessage, { response: ServerResponse; socket: Socket }>();

/**
 * Runs a server's WebSocket upgrades through its own request listeners, as any request, so that middleware comes first
 * and a refusal is a real HTTP response; and closes the relay with the server.
 *
 * `isOwn` says which upgrades are the relay's. No other `upgrade` listener of the server sees these, whichever was
 * registered first: many of them answer or destroy what they do not know. All other upgrades reach all other listeners;
 * if there are none, WebSocket upgrades run through the app (which answers them with its own 404), and upgrades to
 * another protocol are plain requests. `handle` is for a framework that has a way of its own for upgrades.
 */
export function serveUpgrades(
  server: Server,
  relay: Relay,
  isOwn: (request: IncomingMessage) => boolean,
  handle: UpgradeHandler = () => false,
): void {
  if (typeof server?.on !== 'function') throw new TypeError('server: must be a node:http or node:https server');
  closeWith(server, relay);
  const claim = { relay, isOwn, handle };
  const known = claimsOf.get(server);
  if (known === undefined) interceptUpgrades(server, [claim]);
  else known.push(claim);
}

/**
 * The one place that changes how a server emits `upgrade`. A listener can neither stop the event nor know in which order
 * it will be called, so `emit` itself is replaced, on this one server.
 */
function interceptUpgrades(server: Server, claims: Claim[]): void {
  claimsOf.set(server, claims);
  const { emit } = server;
  server.emit = (event: string, ...args: unknown[]): boolean => {
    if (event === 'upgrade') {
      const [request, socket, head] = args as [IncomingMessage, Socket, Buffer];
      const claim = isUpgrade(request) ? findClaim(claims, request) : undefined;
      if (claim !== undefined) {
        take(server, claim, request, socket, head);
        return true;
      }
    }
    return Reflect.apply(emit, server, [event, ...args]);
  };
  listenAsFallback(server, (request: IncomingMessage, socket: AnsweredSocket, head: Buffer) => {
    if (socket._httpMessage) socket.destroy();
    else if (isUpgrade(request)) take(server, claims[0] as Claim, request, socket, head);
    else serveAsPlainRequest(server, request, socket, head);
  });
}

/** The claim to a request: of a relay that is closed only if no other has taken its place. */
function findClaim(claims: readonly Claim[], request: IncomingMessage): Claim | undefined {
  const own = claims.filter(({ isOwn }) => isOwn(request));
  return own.find(({ relay }) => !relay.isClosing) ?? own[0];
}

/**
 * Node emits `upgrade` only while there is a listener for it. This one is there only while there is no other, because
 * some libraries count the listeners, and answer upgrades that they do not know only if theirs is the only one.
 */
function listenAsFallback(server: Server, listener: (...upgrade: [IncomingMessage, Socket, Buffer]) => void): void {
  let isReplaced = false;
  fallbacks.add(listener);
  const listenIfAlone = (): void => {
    if (!isReplaced && server.listenerCount('upgrade') === 0) server.on('upgrade', listener);
  };
  server.on('newListener', (event, added) => {
    if (event !== 'upgrade' || added === listener) return;
    isReplaced = true;
    server.off('upgrade', listener);
    isReplaced = false;
  });
  server.on('removeListener', (event) => {
    if (event === 'upgrade') listenIfAlone();
  });
  listenIfAlone();
}

function take(server: Server, claim: Claim, request: IncomingMessage, socket: AnsweredSocket, head: Buffer): void {
  // It was sent before an earlier request was answered, whose response would end up among the frames.
  if (socket._httpMessage) return void socket.destroy();
  guardUpgradeSocket(socket);
  socket.on('drain', passOnDrain);
  if (!claim.handle(request, socket, head)) runThroughApp(server, request, socket, head);
  endWithResponse(socket);
}

/** A response in place of the upgrade is the last thing on its socket. */
function endWithResponse({ _httpMessage: response }: AnsweredSocket): void {
  response?.on('finish', endSocket);
}

function passOnDrain(this: AnsweredSocket): void {
  this._httpMessage?.emit('drain');
}

function endSocket(this: ServerResponse): void {
  if (this.socket) endUpgradeSocket(this.socket);
}

function runThroughApp(server: Server, request: IncomingMessage, socket: Socket, head: Buffer): void {
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
  pending.set(request, { response, socket });
  // Without a listener nobody would ever answer it, and its socket would stay open.
  if (!server.emit('request', request, response)) response.writeHead(404).end();
}

/**
 * @throws NotAttachedError if an upgrade did not come through `serveUpgrades`: then Node's HTTP parser is still on the
 * socket, and would end it
 */
export function assertAttached(request: IncomingMessage, adapter: string): void {
  if (isUpgrade(request) && !pending.has(request)) throw new NotAttachedError(adapter);
}

/**
 * Detaches the socket of an upgrade from its response, for a WebSocket server to accept it; once.
 * @throws NotAttachedError if the upgrade did not come through `serveUpgrades`
 */
export function takeUpgrade(request: IncomingMessage, adapter: string): Socket {
  const upgrade = pending.get(request);
  if (upgrade === undefined) throw new NotAttachedError(adapter);
  pending.delete(request);
  const { response, socket } = upgrade;
  socket.off('drain', passOnDrain);
  response.off('finish', endSocket);
  response.detachSocket(socket);
  finish(response);
  return socket;
}

/**
 * Ends the response to an accepted upgrade, for whatever watches it, such as an access log: as Node would, with 101, but
 * into nothing. The real 101 is ws's.
 */
function finish(response: ServerResponse): void {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  response.assignSocket(nowhere as Socket);
  response.once('finish', () => response.emit('close'));
  if (!response.headersSent) response.writeHead(101);
  response.end();
}

/** An upgrade arrived as a plain request: the adapter was not given the server. */
export class NotAttachedError extends Error {
  constructor(adapter: string) {
    super(
      `${adapter}: a WebSocket upgrade arrived as a plain request, because the adapter does not know the server. ` +
        'Call arc(...).attach(server) with your http.Server before it listens.',
    );
    this.name = 'NotAttachedError';
  }
}

/** The checks of the listeners of each server. Node warns of a leak if there are many listeners, one for each relay. */
const listenerChecks = new WeakMap<Server, (() => void)[]>();

/**
 * Logs one warning if another library listens for upgrades of the server as well, and the relay's path is not known, so
 * that it takes every WebSocket upgrade. Checks when the server listens, and when another library is added later.
 */
export function warnOfUnknownPath(server: Server, relay: Relay, adapter: string, isUnknown: () => boolean): void {
  let isWarned = false;
  const check = (): void => {
    if (isWarned || !isUnknown() || server.listeners('upgrade').every((listener) => fallbacks.has(listener))) return;
    isWarned = true;
    relay.config.logger.warn(
      {},
      `${adapter}: the relay does not know its path in a Router, and takes every WebSocket upgrade of the server, those of ` +
        'another library as well. Set the option path, or pass it to attach(server, { path }).',
    );
  };
  const known = listenerChecks.get(server);
  if (known !== undefined) return void known.push(check);
  const all = [check];
  listenerChecks.set(server, all);
  const checkAll = (): void => {
    for (const each of all) each();
  };
  server.once('listening', checkAll);
  server.on('newListener', (event) => {
    // The event comes before the listener is there.
    if (event === 'upgrade' && server.listening) process.nextTick(checkAll);
  });
}
