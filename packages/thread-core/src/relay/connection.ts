import type { IncomingMessage } from 'node:http';
import { CloseCode } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import { readFrame } from './frame-reader.js';
import { FrameWriter, type FrameWriterOwner, type FrameWriting } from './frame-writer.js';
import type { ReadFrame } from './inbox.js';
import type { RelayConfig } from './options.js';
import { TokenBucket } from './rate-limiter.js';
import type { RelaySocket, SocketData } from './socket.js';
import type { Traffic } from './stats.js';

/** What a connection needs of its session. */
export interface ConnectionOwner {
  /** Nothing is pending: the connection may be closed as idle. */
  readonly isIdle: boolean;
  /** Whether a frame counts neither for `frameRate` nor as activity. */
  isExempt(frame: ReadFrame): boolean;
  onFrame(frame: ReadFrame, text: string, bytes: number): void;
  /** A frame exceeded `frameRate`. */
  onExcessFrame(frame: ReadFrame, bytes: number): void;
  /** `isFull` has changed. */
  onBackpressure(): void;
  /** The client broke a rule, for which its session ends with this close code. */
  onViolation(code: number, reason: string): void;
  /** The connection ends, and not by `close`: frames are neither read nor sent any more. May be called twice. */
  onDisconnect(code: number): void;
  /** The WebSocket is closed. Called once. */
  onClosed(code: number, error: unknown): void;
  /** A callback of the socket's threw. */
  onFailure(error: unknown): void;
}

const ignore = (): void => {};

/** The owner of a connection whose session goes on without it: nothing that it does matters any more. */
const NO_OWNER: ConnectionOwner = {
  isIdle: false,
  isExempt: () => true,
  onFrame: ignore,
  onExcessFrame: ignore,
  onBackpressure: ignore,
  onViolation: ignore,
  onDisconnect: ignore,
  onClosed: ignore,
  onFailure: ignore,
};

/** Milliseconds in which the client of a replaced connection must answer the closing handshake. */
const REPLACED_TIMEOUT_MS = 500;

/** What a connection needs of its relay. */
export interface ConnectionHost {
  readonly config: RelayConfig;
  /** Counts the sweeps of all sessions: a clock that costs nothing to read. */
  readonly sweeper: { readonly sweeps: number };
}

/** What a close frame without a code is reported as. */
const NO_STATUS = 1005;

/** Where a socket has its connection. The listeners are shared by all sockets, because closures would cost memory. */
const CONNECTION = Symbol('connection');

type ConnectedSocket = RelaySocket & { [CONNECTION]: Connection };

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
  closeSocket.call(this, code, reason);
  (this as ConnectedSocket)[CONNECTION].onCloseCalled(code);
}

/** The number of bytes received. A request that was injected by a test has no socket. */
function bytesRead({ socket }: { socket: IncomingMessage['socket'] | undefined }): number | undefined {
  return socket?.bytesRead;
}

/** One WebSocket: reads frames, limits their size and rate, writes, and notices slow and silent clients. */
export class Connection implements FrameWriterOwner, FrameWriting {
  readonly request: IncomingMessage;
  /** Its session. A session that is resumed becomes the owner of the connection on which that was asked for. */
  owner: ConnectionOwner;
  readonly #host: ConnectionHost;
  readonly #socket: RelaySocket;
  readonly #writer: FrameWriter;
  #limiter: TokenBucket | undefined;
  #badFrames = 0;
  /** The sweep of the last activity. */
  #lastActivity: number;
  /** Bytes received and unsent at the last ping. Negative or undefined: the client is known to be alive. */
  #received: number | undefined = -1;
  #backlog = 0;
  #stallTimer: NodeJS.Timeout | undefined;
  #isClosing = false;
  #error: unknown;

  /** @throws TypeError if the socket has a connection already */
  constructor(host: ConnectionHost, owner: ConnectionOwner, socket: RelaySocket, request: IncomingMessage) {
    const isAttached = (socket as Partial<ConnectedSocket>)[CONNECTION] !== undefined;
    if (isAttached && socket.readyState !== socket.CLOSED) throw new TypeError('socket: is attached already');
    this.#host = host;
    this.owner = owner;
    this.#socket = socket;
    this.request = request;
    this.#lastActivity = host.sweeper.sweeps;
    this.#writer = new FrameWriter(socket, request.socket, host.config.maxBufferedBytes, this);
    socket.binaryType = 'nodebuffer';
    (socket as ConnectedSocket)[CONNECTION] = this;
    socket.on('message', onMessage);
    socket.on('close', onClose);
    socket.on('error', onError);
    // A fourth listener would make ws's table of listeners grow by a hundred bytes. Bytes received tell as much.
    if (bytesRead(request) === undefined) socket.on('pong', onPong);
    socket.close = close;
    if (socket.readyState === socket.CLOSED) queueMicrotask(() => this.onClose(CloseCode.Abnormal));
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  /** More than `maxBufferedBytes` wait for the client. */
  get isFull(): boolean {
    return this.#writer.isFull;
  }

  get traffic(): Traffic {
    const { socket } = this.request as { socket: IncomingMessage['socket'] | undefined };
    return { received: socket?.bytesRead ?? 0, sent: socket?.bytesWritten ?? 0 };
  }

  write(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeper.sweeps;
    this.#writer.write(frame);
  }

  writeSoon(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeper.sweeps;
    this.#writer.writeSoon(frame);
  }

  writePart(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeper.sweeps;
    this.#writer.writePart(frame);
  }

  /** As `writeSoon`, for a frame that does not count as activity. */
  writeControl(frame: Bytes): void {
    this.#writer.writeSoon(frame);
  }

  /** @internal */
  read(data: SocketData | string, isBinary: boolean | undefined): void {
    const { config, sweeper } = this.#host;
    if (!this.isOpen) return;
    // ws 7 passes text as a string and everything else is binary; ws 8 says which it is.
    if (isBinary ?? typeof data !== 'string') {
      return this.owner.onViolation(CloseCode.UnsupportedData, 'Frames must be text');
    }
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : (data as Buffer).length;
    if (bytes > config.maxFrameBytes) {
      // As ws does for its own limit: pending sends get no frame after 1009.
      this.close(CloseCode.MessageTooBig, 'The frame is too large');
      return this.owner.onViolation(CloseCode.MessageTooBig, 'The frame is too large');
    }
    const text = data.toString();
    const frame = readFrame(text, config.maxFrameDepth, config.resume !== undefined);
    if (config.resume === undefined || !this.owner.isExempt(frame)) {
      this.#lastActivity = sweeper.sweeps;
      if (this.#isTooFast()) return this.owner.onExcessFrame(frame, bytes);
    }
    this.owner.onFrame(frame, text, bytes);
  }

  #isTooFast(): boolean {
    const { frameRate } = this.#host.config;
    if (frameRate === Number.POSITIVE_INFINITY) return false;
    this.#limiter ??= new TokenBucket(frameRate);
    return !this.#limiter.take();
  }

  /** Counts an invalid or refused frame. Returns whether there were too many in a row. */
  countBadFrame(): boolean {
    this.#badFrames += 1;
    return this.#badFrames >= this.#host.config.maxBadFrames;
  }

  /** A frame was accepted. */
  resetBadFrames(): void {
    this.#badFrames = 0;
  }

  onFull(): void {
    this.owner.onBackpressure();
  }

  onDrain(): void {
    this.#received = -1;
    this.#guard(() => this.owner.onBackpressure());
  }

  /** Starts `stalledTimeout`, unless it runs: the client must read, or its session ends. */
  startStallTimer(): void {
    const { stalledTimeout } = this.#host.config;
    if (stalledTimeout === 0 || this.#stallTimer !== undefined) return;
    this.#stallTimer = setTimeout(() => this.#guard(() => this.#drop()), stalledTimeout).unref();
  }

  restartStallTimer(): void {
    this.stopStallTimer();
    this.startStallTimer();
  }

  stopStallTimer(): void {
    clearTimeout(this.#stallTimer);
    this.#stallTimer = undefined;
  }

  /** @internal */
  onPong(): void {
    this.#received = -1;
  }

  /** @internal */
  onError(error: unknown): void {
    this.#error = error;
  }

  /** `close` was called: by `close` below, by ws when a close frame or an invalid frame arrived, or by the application. @internal */
  onCloseCalled(code: number = NO_STATUS): void {
    if (!this.#isClosing) this.#guard(() => this.owner.onDisconnect(code));
  }

  /** @internal */
  onClose(code: number): void {
    this.stopStallTimer();
    if (!this.#isClosing) this.#guard(() => this.owner.onDisconnect(code));
    this.#guard(() => this.owner.onClosed(code, this.#error));
  }

  /** @internal */
  onFailure(error: unknown): void {
    this.owner.onFailure(error);
  }

  /** Runs a callback of the socket or a timer. What it throws costs this session, and not the process. */
  #guard(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.owner.onFailure(error);
    }
  }

  #drop(): void {
    this.owner.onViolation(CloseCode.PolicyViolation, 'The client does not read');
    // The close frame waits behind what the client does not read.
    this.terminate();
  }

  /** Called regularly: closes an idle connection, and sends a ping or drops a client that did not answer the last one. */
  sweep(pings: boolean, idleSweeps: number): void {
    if (!this.isOpen) return;
    const isOverdue = idleSweeps > 0 && this.#host.sweeper.sweeps - this.#lastActivity >= idleSweeps;
    if (isOverdue && this.owner.isIdle) return this.owner.onViolation(CloseCode.IdleTimeout, 'Idle for too long');
    if (!pings) return;
    // The pong of a slow client waits behind what it has not read, so reading counts as well.
    const backlog = this.#writer.backlog;
    const received = bytesRead(this.request);
    if (received === this.#received && backlog >= this.#backlog) return this.terminate();
    this.#backlog = backlog;
    this.#received = received;
    this.#socket.ping();
  }

  /**
   * Writes what waits, and starts the closing handshake. The owner hears of the end by `onClosed` alone. A reason longer
   * than 123 bytes is cut.
   * @throws TypeError if a server may not send this code
   */
  close(code: number, reason: string): void {
    this.#isClosing = true;
    this.stopStallTimer();
    this.#writer.flush();
    this.#socket.close(code, cutReason(reason));
  }

  /** The session goes on without this connection, whose events are ignored from now on. */
  release(): void {
    this.stopStallTimer();
    this.owner = NO_OWNER;
  }

  /** Another connection has taken the place of this one. */
  replace(code: number, reason: string): void {
    this.release();
    this.close(code, reason);
    setTimeout(() => this.terminate(), REPLACED_TIMEOUT_MS).unref();
  }

  /** Drops the TCP connection. */
  terminate(): void {
    this.#socket.terminate();
  }
}

/** A close reason has at most 123 bytes (RFC 6455, 5.5). It is cut between two characters. */
function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= 123) return reason;
  let end = 123;
  while (((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
