import type { IncomingMessage } from 'node:http';
import { CloseCode } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import { readFrame } from '../frames/frame-reader.js';
import { FrameWriter, type FrameWriterOwner } from '../frames/frame-writer.js';
import type { Traffic } from '../monitoring/stats.js';
import type { RelayConfig } from '../options.js';
import { cutReason } from './close-reason.js';
import { type ConnectionOwner, NO_OWNER } from './connection-owner.js';
import { LimitedConnection } from './limited-connection.js';
import { TokenBucket } from './rate-limiter.js';
import type { SessionConnection } from './session-connection.js';
import type { RelaySocket, SocketData } from './socket.js';
import { isConnected, listen, type SocketEvents } from './socket-events.js';

/** Milliseconds in which the client of a replaced connection must answer the closing handshake. */
const REPLACED_TIMEOUT_MS = 500;

/**
 * Milliseconds in which a client must answer the close frame, or close the TCP connection after its own. They suffice to send a
 * lost packet again.
 */
const CLOSING_TIMEOUT_MS = 2000;

/** What a connection needs of its relay. */
export interface ConnectionHost {
  readonly config: RelayConfig;
  /** Counts the sweeps of all sessions: a clock that costs nothing to read. */
  readonly sweeper: { readonly sweeps: number };
  /** A connection no longer counts for `maxSessions`. */
  releaseSlot(): void;
}

/** What a close frame without a code is reported as. */
const NO_STATUS = 1005;

/** The number of bytes received. A request that was injected by a test has no socket. */
function bytesRead({ socket }: { socket: IncomingMessage['socket'] | undefined }): number | undefined {
  return socket?.bytesRead;
}

/** One WebSocket: reads frames, limits their size and rate, writes, and notices slow and silent clients. */
export class Connection extends LimitedConnection implements FrameWriterOwner, SessionConnection, SocketEvents {
  readonly request: IncomingMessage;
  readonly #host: ConnectionHost;
  readonly #socket: RelaySocket;
  readonly #writer: FrameWriter;
  #limiter: TokenBucket | undefined;
  /** The sweep of the last activity. */
  #lastActivity: number;
  /** Bytes received at the last ping; -1 once the client has shown that it is alive. Undefined: only a pong can tell. */
  #receivedAtPing: number | undefined = -1;
  /** What waited then, and what the operating system had accepted. */
  #backlogAtPing = 0;
  #acceptedAtPing = 0;
  /** What it had accepted when the writer became full, or when that was last found to last for `stalledTimeout`. */
  #acceptedAtStall = 0;
  #hasSlot = true;
  readonly #ageTimer: NodeJS.Timeout | undefined;
  #closingTimer: NodeJS.Timeout | undefined;
  #isClosing = false;
  #error: unknown;

  /** @throws TypeError if the socket has a connection already */
  constructor(host: ConnectionHost, owner: ConnectionOwner, socket: RelaySocket, request: IncomingMessage) {
    super(owner);
    if (isConnected(socket) && socket.readyState !== socket.CLOSED) throw new TypeError('socket: is attached already');
    this.#host = host;
    this.#socket = socket;
    this.request = request;
    this.#lastActivity = host.sweeper.sweeps;
    this.#writer = new FrameWriter(socket, request.socket, host.config.maxBufferedBytes, this);
    socket.binaryType = 'nodebuffer';
    // A fourth listener would make ws's table of listeners grow by a hundred bytes. Bytes received serve as well.
    listen(socket, this, bytesRead(request) === undefined);
    if (socket.readyState === socket.CLOSED) queueMicrotask(() => this.onClose(CloseCode.Abnormal));
    const { maxSessionAge } = host.config;
    if (maxSessionAge > 0) this.#ageTimer = setTimeout(() => this.guard(() => this.#expire()), maxSessionAge).unref();
  }

  #expire(): void {
    // Once its client has closed it, what still runs may be allowed to end.
    if (this.isOpen) this.owner.onViolation(CloseCode.Unauthorized, 'The session has expired');
  }

  protected get config(): RelayConfig {
    return this.#host.config;
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

  write(frame: Bytes): boolean {
    this.#lastActivity = this.#host.sweeper.sweeps;
    return this.#writer.write(frame);
  }

  /** As `write`, for a frame that does not count as activity. */
  writeControl(frame: Bytes): void {
    this.#writer.write(frame);
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
      if (this.#isTooFast()) return this.owner.onExcessFrame(frame, text, bytes);
    }
    this.owner.onFrame(frame, text, bytes);
  }

  #isTooFast(): boolean {
    const { frameRate } = this.#host.config;
    if (frameRate === Number.POSITIVE_INFINITY) return false;
    this.#limiter ??= new TokenBucket(frameRate);
    return !this.#limiter.take();
  }

  onBatch(frames: string): void {
    this.owner.onBatch(frames);
  }

  onFull(): void {
    this.#acceptedAtStall = this.#writer.accepted;
    this.owner.onBackpressure();
  }

  onDrain(): void {
    this.#receivedAtPing = -1;
    this.guard(() => this.owner.onBackpressure());
  }

  /** @internal */
  onPong(): void {
    this.#receivedAtPing = -1;
  }

  /** @internal */
  onError(error: unknown): void {
    this.#error = error;
  }

  /** @internal */
  flush(): void {
    this.#writer.flush();
  }

  /** @internal */
  onCloseCalled(code: number = NO_STATUS): void {
    this.#closingTimer ??= this.#dropOnceSilent();
    if (!this.#isClosing) this.guard(() => this.owner.onDisconnect(code));
  }

  /** A client that reads slowly, and says something meanwhile, still gets what was written: only ws limits the time for that. */
  #dropOnceSilent(): NodeJS.Timeout {
    const received = bytesRead(this.request);
    const look = (): void => {
      if (bytesRead(this.request) !== received) this.#closingTimer = this.#dropOnceSilent();
      else if (this.#writer.backlog === 0) this.terminate();
    };
    return setTimeout(look, CLOSING_TIMEOUT_MS).unref();
  }

  /** @internal */
  onClose(code: number): void {
    clearTimeout(this.#ageTimer);
    clearTimeout(this.#closingTimer);
    this.stopStallTimer();
    if (!this.#isClosing) this.guard(() => this.owner.onDisconnect(code));
    const { finishing } = this.owner;
    if (finishing === undefined) this.releaseSlot();
    else void finishing.then(() => this.releaseSlot());
    this.guard(() => this.owner.onClosed(code, this.#error));
  }

  /** @internal */
  onFailure(error: unknown): void {
    this.owner.onFailure(error);
  }

  protected onStalled(): void {
    if (this.isFull && this.#isCatchingUp()) return this.restartStallTimer();
    // As above. What the client does not read is dropped in either case.
    if (this.isOpen) this.owner.onViolation(CloseCode.PolicyViolation, 'The client does not read');
    // The close frame waits behind what the client does not read.
    this.terminate();
  }

  /** The client reads slowly: no more than `maxBufferedBytes` wait by now, although the writer is full until nothing does. */
  #isCatchingUp(): boolean {
    const { accepted } = this.#writer;
    const hasRead = accepted > this.#acceptedAtStall;
    this.#acceptedAtStall = accepted;
    return hasRead && this.traffic.sent - accepted <= this.config.maxBufferedBytes;
  }

  /** Called regularly: closes an idle connection, and sends a ping or drops a client that did not answer the last one. */
  sweep(pings: boolean, idleSweeps: number): void {
    this.guard(() => this.#sweep(pings, idleSweeps));
  }

  #sweep(pings: boolean, idleSweeps: number): void {
    if (!this.isOpen) return;
    const isOverdue = idleSweeps > 0 && this.#host.sweeper.sweeps - this.#lastActivity >= idleSweeps;
    if (isOverdue && this.owner.isIdle) return this.owner.onViolation(CloseCode.IdleTimeout, 'Idle for too long');
    if (!pings) return;
    // The pong of a slow client waits behind what it has not read, so reading counts as well.
    const { backlog, accepted } = this.#writer;
    const received = bytesRead(this.request);
    // What waits may still have grown, if its agents write faster than it reads. While something waits, more is only
    // accepted if the client reads.
    const hasRead = backlog < this.#backlogAtPing || (this.#backlogAtPing > 0 && accepted > this.#acceptedAtPing);
    if (received === this.#receivedAtPing && !hasRead) return this.terminate();
    this.#backlogAtPing = backlog;
    this.#acceptedAtPing = accepted;
    this.#receivedAtPing = received;
    this.#socket.ping();
  }

  /**
   * Writes what waits, and starts the closing handshake. The owner gets `onClosed`, and no `onDisconnect`. A reason longer
   * than 123 bytes is cut.
   * @throws TypeError if a server may not send this code
   */
  close(code: number, reason: string): void {
    this.#isClosing = true;
    this.stopStallTimer();
    this.#socket.close(code, cutReason(reason));
  }

  /** The connection no longer counts for `maxSessions`: it is closed, or was refused. */
  releaseSlot(): void {
    if (this.#hasSlot) this.#host.releaseSlot();
    this.#hasSlot = false;
  }

  /** The session continues without this connection, whose events are ignored from now on. */
  release(): void {
    clearTimeout(this.#ageTimer);
    this.stopStallTimer();
    this.owner = NO_OWNER;
  }

  /** Another connection has taken the place of this one. */
  replace(code: number, reason: string): void {
    const { isFull } = this;
    this.release();
    // Its client would not get the close frame, and what it did not read would stay in memory.
    if (isFull) return this.terminate();
    this.close(code, reason);
    setTimeout(() => this.terminate(), REPLACED_TIMEOUT_MS).unref();
  }

  /** Drops the TCP connection. */
  terminate(): void {
    this.#socket.terminate();
  }
}
