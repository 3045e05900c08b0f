/** What the relay needs of a WebSocket: each socket of `ws` 7 or 8 has it, whether or not its types are installed. */
export interface RelaySocket {
  readonly readyState: number;
  readonly OPEN: number;
  readonly CLOSED: number;
  /** Bytes that wait to be written. */
  readonly bufferedAmount: number;
  /** The names of the extensions that were negotiated. */
  readonly extensions: string;
  binaryType: string;
  on(event: string, listener: (...args: never[]) => void): unknown;
  close(code?: number, reason?: string): void;
  ping(): void;
  send(data: string | Uint8Array, options: { binary?: boolean }, callback?: (error?: Error) => void): void;
  terminate(): void;
}

/** A message of a socket. */
export type SocketData = Buffer | ArrayBuffer | Buffer[];

/** Options for a `ws` server whose sockets are attached to a relay. */
export interface WsOptions {
  /** Size of a message, in bytes. */
  maxPayload: number;
  /** Compression is off: it would take memory and time of each connection. */
  perMessageDeflate: false;
  /** Fragments of a message. */
  maxFragments: number;
  /** Reads in which one fragment may arrive. */
  maxBufferedChunks: number;
  /** Selects the first offered subprotocol that is in the option `protocols`; false if there is none. */
  handleProtocols(protocols: Iterable<string>): string | false;
}
