import { CloseCode } from '@arc/thread-protocol';
import { type Bytes, decode } from '../../bytes.js';
import { checkCloseCode, cutReason } from '../connection/close-reason.js';
import { type ConnectionOwner, NO_OWNER } from '../connection/connection-owner.js';
import { LimitedConnection } from '../connection/limited-connection.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { readFrame } from '../frames/frame-reader.js';
import type { Traffic } from '../monitoring/stats.js';
import type { RelayConfig } from '../options.js';
import type { JournalSpill } from '../resume/journal-spill.js';
import type { GatewayEvent, LinkEvent, LinkListener, Links } from './links.js';
import type { ResumeRequest } from './move-messages.js';

/** The socket of a session of this node, which is on another node. */
export interface RemoteSocket {
  readonly links: Links;
  readonly link: string;
  /** The node that has the socket. */
  readonly peer: string;
}

/** The progress of the session. */
export interface RemoteProgress {
  readonly got: number;
  readonly isLeaving: boolean;
  readonly journal: { readonly lastSeq: number; frames(): Bytes[] };
}

/** The connection of a session whose client is connected to another node. That node reads its frames from the store. */
export class RemoteConnection extends LimitedConnection implements SessionConnection, LinkListener {
  readonly request = undefined;
  isOpen = true;
  readonly isFull = false;
  readonly traffic: Traffic = { received: 0, sent: 0 };
  protected readonly config: RelayConfig;
  readonly #socket: RemoteSocket;
  readonly #progress: RemoteProgress;
  readonly #spill: JournalSpill;
  /** Tells its session that it is closed, once. */
  #closed: (() => void) | undefined;

  constructor(
    config: RelayConfig,
    owner: ConnectionOwner,
    socket: RemoteSocket,
    progress: RemoteProgress,
    spill: JournalSpill,
  ) {
    super(owner);
    this.config = config;
    this.#socket = socket;
    this.#progress = progress;
    this.#spill = spill;
    spill.onWritten = (end) => this.#post({ event: 'frames', end });
    socket.links.add(socket.link, this);
  }

  get #lastSeq(): number {
    return this.#progress.journal.lastSeq;
  }

  /** The frame reaches the client through the journal and the store. */
  write(): boolean {
    return false;
  }

  writeControl(frame: Bytes): void {
    this.#post({ event: 'control', text: decode(frame), got: this.#progress.got });
  }

  protected onStalled(): void {
    this.owner.onViolation(CloseCode.PolicyViolation, 'The client does not read');
  }

  /** The other node pings the client. This one only checks that the other node is alive. */
  sweep(pings: boolean): void {
    if (pings) this.#post({ event: 'ping' });
  }

  close(code: number, reason: string): void {
    const { owner } = this;
    if (!this.isOpen) return;
    // At the node of the client it would be too late for whoever has given it.
    checkCloseCode(code);
    // After 1012 the session continues on another node, and its frames stay in the store.
    const frames = code === CloseCode.ServiceRestart ? [] : this.#progress.journal.frames().map(decode);
    this.#post({ event: 'close', end: this.#lastSeq, code, reason: cutReason(reason), frames });
    this.#closed = () => {
      this.#closed = undefined;
      this.#leave();
      owner.onClosed(code, undefined);
    };
    void this.#spill.write().then(() => this.#closed?.());
    this.isOpen = false;
  }

  release(): void {
    this.owner = NO_OWNER;
    this.#leave();
  }

  releaseSlot(): void {}

  replace(code: number, reason: string): void {
    this.#post({ event: 'close', end: 0, code, reason });
    this.release();
  }

  /** What the store does not take is not awaited any longer. */
  terminate(): void {
    this.close(CloseCode.ServiceRestart, '');
    this.#closed?.();
  }

  /** The session is the other node's now. */
  hasMoved(request: ResumeRequest): void {
    this.#post({ event: 'moved', end: this.#lastSeq, request });
    this.release();
  }

  onMessage(message: LinkEvent): void {
    if (message.event === 'gone') this.#onGone(message.code);
    else if (message.event === 'frame' || message.event === 'excess') {
      const { n, text, event } = message;
      const { got, isLeaving } = this.#progress;
      // What is not taken is taken by the next owner.
      if (n !== undefined && (n <= got || isLeaving)) return;
      if (n !== undefined && n > got + 1) return this.#lose();
      const frame = readFrame(text, this.config.maxFrameDepth, true);
      if (event === 'excess') this.owner.onExcessFrame(frame, text, Buffer.byteLength(text));
      else this.owner.onFrame(frame, text, Buffer.byteLength(text));
    }
  }

  onPeerLost(): void {
    this.#onGone(CloseCode.Abnormal);
  }

  /** A frame was lost with the data of the store: its client sends it again on another connection. */
  #lose(): void {
    this.#post({ event: 'close', end: 0, code: CloseCode.ServiceRestart, reason: 'Try again' });
    this.#onGone(CloseCode.Abnormal);
  }

  #onGone(code: number): void {
    const { owner } = this;
    this.#leave();
    owner.onDisconnect(code);
    // A session that waits for its client has released this connection by now.
    this.owner.onClosed(code, undefined);
  }

  #leave(): void {
    this.isOpen = false;
    this.stopStallTimer();
    this.#spill.onWritten = undefined;
    this.#socket.links.remove(this.#socket.link);
  }

  #post(event: GatewayEvent): void {
    const { links, link, peer } = this.#socket;
    if (this.isOpen) void links.post(peer, link, event);
  }
}
