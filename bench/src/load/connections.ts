import { once } from 'node:events';
import WebSocket from 'ws';
import { Session } from './frames.js';

/** Sets of open connections, by name. */
const sets = new Map<string, WebSocket[]>();

/** Number of concurrent handshakes. */
const AT_ONCE = 64;

export function connect(url: string): WebSocket {
  return new WebSocket(url, { perMessageDeflate: false, skipUTF8Validation: true });
}

/** The sessions of the connections that asked for a resumable one. */
const sessions = new WeakMap<WebSocket, Session>();

export function sessionOf(socket: WebSocket): Session | undefined {
  return sessions.get(socket);
}

/** Whether each stream to this URL loses its connection after its first event, and is resumed. */
export function isCut(url: string): boolean {
  return url.endsWith('&cut');
}

/** Resolves when the connection can be used. */
export async function untilReady(socket: WebSocket): Promise<void> {
  await once(socket, 'open');
  if (!socket.url.includes('?resume')) return;
  const ready = once(socket, 'message');
  socket.send('{"type":"resume"}');
  const { session } = JSON.parse(String((await ready)[0])) as { session: string };
  sessions.set(socket, new Session(session));
}

/** Drops a connection, and opens another one for its session, whose frames `onMessage` gets. */
export async function reconnect(
  name: string,
  lost: WebSocket,
  session: Session,
  onMessage: (data: Buffer) => void,
): Promise<WebSocket> {
  lost.removeAllListeners('message').removeAllListeners('close').terminate();
  const socket = connect(lost.url);
  const sockets = socketsOf(name);
  sockets[sockets.indexOf(lost)] = socket;
  sessions.set(socket, session);
  await once(socket, 'open');
  const { token, seq, sent } = session;
  socket.send(JSON.stringify({ type: 'resume', session: token, seq, sent }));
  socket.once('message', (data: Buffer) => {
    const ready = JSON.parse(String(data)) as { session: string; resumed: boolean };
    // Without it the answer is missing, which fails the run.
    if (ready.resumed) session.token = ready.session;
    socket.on('message', onMessage);
  });
  return socket;
}

/** Adds connections to a set. */
export async function openSockets(name: string, url: string, count: number): Promise<void> {
  const sockets = socketsOf(name);
  sets.set(name, sockets);
  for (let left = count; left > 0; left -= AT_ONCE) {
    const batch = Array.from({ length: Math.min(left, AT_ONCE) }, () => connect(url));
    await Promise.all(batch.map(untilReady));
    sockets.push(...batch);
  }
}

export function socketsOf(name: string): WebSocket[] {
  return sets.get(name) ?? [];
}

/** Drops the TCP connections of a set, without a closing handshake. */
export async function dropSockets(name: string): Promise<void> {
  const sockets = socketsOf(name);
  sets.delete(name);
  await Promise.all(
    sockets.map((socket) => {
      const closed = once(socket, 'close');
      socket.terminate();
      return closed;
    }),
  );
}

/** Closes a set of connections with a closing handshake. */
export async function closeSockets(name: string): Promise<void> {
  const sockets = socketsOf(name);
  sets.delete(name);
  await Promise.all(
    sockets.map((socket) => {
      const closed = once(socket, 'close');
      socket.close();
      return closed;
    }),
  );
}
