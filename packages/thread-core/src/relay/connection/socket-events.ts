import type { RelaySocket, SocketData } from './socket.js';

/** The property of a socket that has its connection. All sockets share their listeners, because closures cost memory. */
const CONNECTION = Symbol('connection');

/** What a connection does at the events of its socket. */
export interface SocketEvents {
  read(data: SocketData | string, isBinary: boolean | undefined): void;
  onPong(): void;
  onError(error: unknown): void;
  onClose(code: number): void;
  /** Writes what waits: `close` is about to be called. */
  flush(): void;
  /** `close` was called: by the connection, by ws when a close frame or an invalid frame arrived, or by the application. */
  onCloseCalled(code: number | undefined): void;
  onFailure(error: unknown): void;
}

type ConnectedSocket = RelaySocket & { [CONNECTION]: SocketEvents };

/** Whether the socket has a connection already. */
export function isConnected(socket: RelaySocket): boolean {
  return (socket as Partial<ConnectedSocket>)[CONNECTION] !== undefined;
}

/** `pongs`: whether to listen for them, too. */
export function listen(socket: RelaySocket, connection: SocketEvents, pongs: boolean): void {
  (socket as ConnectedSocket)[CONNECTION] = connection;
  socket.on('message', onMessage);
  socket.on('close', onClose);
  socket.on('error', onError);
  if (pongs) socket.on('pong', onPong);
  socket.close = close;
}

function onMessage(this: RelaySocket, data: SocketData | string, isBinary?: boolean): void {
  const connection = (this as ConnectedSocket)[CONNECTION];
  // Not by `guard`, because a closure for each frame would cost time.
  try {
    connection.read(data, isBinary);
  } catch (error) {
    connection.onFailure(error);
  }
}

function onPong(this: RelaySocket): void {
  (this as ConnectedSocket)[CONNECTION].onPong();
}

function onError(this: RelaySocket, error: unknown): void {
  (this as ConnectedSocket)[CONNECTION].onError(error);
}

function onClose(this: RelaySocket, code: number): void {
  (this as ConnectedSocket)[CONNECTION].onClose(code);
}

/**
 * Replaces the socket's `close`. When a close frame arrives, `ws` calls it, and emits nothing until the TCP connection
 * ends, which a client can put off for 30 seconds.
 */
function close(this: RelaySocket, code?: number, reason?: string): void {
  const { close: closeSocket } = Object.getPrototypeOf(this) as RelaySocket;
  const connection = (this as ConnectedSocket)[CONNECTION];
  connection.flush();
  closeSocket.call(this, code, reason);
  connection.onCloseCalled(code);
}
