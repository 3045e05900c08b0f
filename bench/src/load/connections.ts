import { once } from 'node:events';
import WebSocket from 'ws';

/** Sets of open connections, by name. */
const sets = new Map<string, WebSocket[]>();

/** Number of concurrent handshakes. */
const AT_ONCE = 64;

export function connect(url: string): WebSocket {
  return new WebSocket(url, { perMessageDeflate: false, skipUTF8Validation: true });
}

/** Whether connections to this URL ask for a resumable session. */
export function isResumable(url: string): boolean {
  return url.endsWith('?resume');
}

/** Resolves when the connection can be used. */
export async function untilReady(socket: WebSocket): Promise<void> {
  await once(socket, 'open');
  if (!isResumable(socket.url)) return;
  const ready = once(socket, 'message');
  socket.send('{"type":"resume"}');
  await ready;
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
