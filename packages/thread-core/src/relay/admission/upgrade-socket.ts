import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

function destroy(this: Duplex): void {
  this.destroy();
}

/**
 * Prepares the socket of an upgrade, which Node leaves without a listener for errors, and half open if the client has
 * left. The listener stays until a WebSocket has one of its own: a failing socket without one ends the process.
 */
export function guardUpgradeSocket(socket: Duplex): void {
  // Once, though a host and the relay may both prepare it.
  socket.off('error', destroy).on('error', destroy);
  socket.allowHalfOpen = false;
}

/** ws has its own error listener from here on: two of them would have to be kept in an array, for each connection. */
export function removeUpgradeErrorHandler(socket: Duplex | undefined): void {
  socket?.off('error', destroy);
}

/** Ends a socket once all is written, whether or not the client ends its side. Sockets that a test injects are plain streams. */
export function endUpgradeSocket(socket: Duplex & { destroySoon?(): void }): void {
  if (socket.destroySoon === undefined) socket.end();
  else socket.destroySoon();
}

/** Whether a request asks for a WebSocket. */
export function isUpgrade({ headers: { upgrade, connection = '' } }: IncomingMessage): boolean {
  return upgrade?.toLowerCase() === 'websocket' && /(^|[,\s])upgrade($|[,\s])/i.test(connection);
}
