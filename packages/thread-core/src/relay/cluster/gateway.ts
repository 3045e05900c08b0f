import { CloseCode } from '@arc/thread-protocol';
import { type Bytes, encode } from '../../bytes.js';
import type { ConnectionOwner } from '../connection/connection-owner.js';
import { TokenBucket } from '../connection/rate-limiter.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { CONTROL_RATE, isControl, isCounted, pong } from '../frames/control-frames.js';
import type { ReadFrame } from '../frames/frame-reader.js';
import { BadFrame } from '../frames/frame-reader.js';
import type { SessionStore } from '../store/session-store.js';
import type { LinkEvent, LinkListener, Links, OwnerEvent } from './links.js';

/** A client frame that the owner of the session may not have accepted yet. */
export interface KeptFrame {
  /** Its number among the client's frames that are counted. */
  readonly n: number;
  readonly text: string;
}

export interface GatewayOptions {
  readonly links: Links;
  readonly store: SessionStore;
  readonly link: string;
  readonly sid: string;
  /** The key of the client's identity. */
  readonly identityKey: string;
  /** The node that owns the session. */
  readonly owner: string;
  /** The most bytes of client frames that the owner has not accepted yet. */
  readonly maxKeptBytes: number;
  /** Milliseconds between two pings to the owner. */
  readonly interval: number;
  /** The number of the last frame that the client has seen. */
  readonly seq: number;
  /** How many frames of the client the owner has accepted. */
  readonly got: number;
  /** The session was handed over: this node claims it. */
  onMoved(gateway: Gateway): Promise<void>;
  onLeft(gateway: Gateway, isTaken: boolean): void;
}

type CloseEvent = Extract<LinkEvent, { event: 'close' }>;

/** Frames of one read of the store. */
const MAX_ENTRIES = 100;

/** The memory that a kept frame takes beside its text. */
const FRAME_OVERHEAD_BYTES = 128;

/**
 * A client's socket on this node, while its session is another node's: passes the client's frames on to the owner, and
 * writes what the owner has put into the store.
 */
export class Gateway implements ConnectionOwner, LinkListener {
  readonly connection: SessionConnection;
  readonly isIdle = false;
  readonly begunAt = performance.now();
  readonly #options: GatewayOptions;
  /** The number of the last frame that was written to the client. */
  written: number;
  /** How many frames of the client were passed on. */
  #passed: number;
  #kept: KeptFrame[] = [];
  #keptBytes = 0;
  /** The last control frames of each kind that wait to be passed on: those before each say less. */
  readonly #controls = new Map<'valid' | 'invalid' | 'excess', string>();
  readonly #pings = new TokenBucket(CONTROL_RATE);
  #isPassingControl = false;
  /** The client's last acknowledgement, if it was valid JSON. One that comes while the session moves is not passed on. */
  lastAck: string | undefined;
  #writing: Promise<void> | undefined;
  /** The connection is closed, or has another owner. */
  hasLeft = false;
  /** The session is this node's: the node that had it is not asked any more. */
  #hasMoved = false;
  readonly #timer: NodeJS.Timeout;

  constructor(connection: SessionConnection, options: GatewayOptions) {
    this.connection = connection;
    this.#options = options;
    this.written = options.seq;
    this.#passed = options.got;
    connection.owner = this;
    options.links.add(options.link, this);
    this.#timer = setInterval(() => void this.#post({ event: 'ping' }), options.interval).unref();
  }

  get identityKey(): string {
    return this.#options.identityKey;
  }

  /** The kept frames after the first `got`, which the owner has accepted. */
  keptAfter(got: number): KeptFrame[] {
    return this.#kept.filter(({ n }) => n > got);
  }

  isExempt(frame: ReadFrame): boolean {
    return isControl(frame);
  }

  onFrame(frame: ReadFrame, text: string): void {
    if (!(frame instanceof BadFrame) && frame.type === 'ping') {
      if (!this.#pings.take()) return this.#passControl('excess', text);
      // A client that does not read would make its pongs pile up.
      if (!this.connection.isFull) this.connection.writeControl(pong(frame.id));
      return;
    }
    this.#pass('frame', frame, text);
  }

  /** What the client has not received is in the store. */
  onBatch(): void {}

  onExcessFrame(frame: ReadFrame, text: string): void {
    this.#pass('excess', frame, text);
  }

  #pass(event: 'frame' | 'excess', frame: ReadFrame, text: string): void {
    if (!(frame instanceof BadFrame) && frame.type === 'ack') this.lastAck = text;
    if (!isCounted(frame)) return this.#passControl(frame instanceof BadFrame ? 'invalid' : 'valid', text);
    this.#passed += 1;
    this.#kept.push({ n: this.#passed, text });
    this.#keptBytes += sizeOf(text);
    void this.#post({ event, n: this.#passed, text });
    if (this.#keptBytes <= this.#options.maxKeptBytes) return;
    this.lose(CloseCode.TryAgainLater, 'Try again later');
  }

  /** Closes as if the connection were lost: the client sends again, elsewhere, what the owner has not accepted. */
  lose(code: number, reason: string): void {
    void this.#post({ event: 'gone', code: CloseCode.Abnormal });
    this.close(code, reason);
  }

  #passControl(kind: 'valid' | 'invalid' | 'excess', text: string): void {
    this.#controls.set(kind, text);
    if (!this.#isPassingControl) void this.#passControls();
  }

  async #passControls(): Promise<void> {
    this.#isPassingControl = true;
    // Those that come meanwhile are iterated, too.
    for (const [kind, text] of this.#controls) {
      this.#controls.delete(kind);
      await this.#post({ event: kind === 'excess' ? kind : 'frame', text });
    }
    this.#isPassingControl = false;
  }

  onBackpressure(): void {
    if (this.connection.isFull) return this.connection.startStallTimer();
    this.connection.stopStallTimer();
    void this.deliverStored();
  }

  onViolation(code: number, reason: string): void {
    void this.#post({ event: 'gone', code });
    this.close(code, reason);
  }

  onDisconnect(code: number): void {
    void this.#post({ event: 'gone', code });
  }

  onClosed(code: number): void {
    void this.#post({ event: 'gone', code });
    this.leave();
  }

  onFailure(): void {
    this.onViolation(CloseCode.InternalError, 'The relay failed');
  }

  onPeerLost(): void {
    // Of a session that has moved, that node has no link any more.
    if (!this.#hasMoved) this.close(CloseCode.ServiceRestart, 'The session has moved');
  }

  close(code: number, reason: string): void {
    if (this.hasLeft) return;
    this.leave();
    try {
      this.connection.close(code, reason);
    } catch {
      // A node of an older build passes on whatever its application has given.
      this.connection.terminate();
    }
  }

  /** The connection is closed, or has another owner: `isTaken`. */
  leave(isTaken = false): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    clearInterval(this.#timer);
    this.#options.links.remove(this.#options.link);
    this.#options.onLeft(this, isTaken);
  }

  onMessage(message: LinkEvent): void {
    if (message.event === 'frames') void this.deliverStored();
    else if (message.event === 'control') {
      this.#kept = this.keptAfter(message.got);
      this.#keptBytes = this.#kept.reduce((bytes, { text }) => bytes + sizeOf(text), 0);
      this.connection.writeControl(encode(message.text));
    } else if (message.event === 'close') void this.#closeAfter(message);
    else if (message.event === 'gone') this.onPeerLost();
    else if (message.event === 'moved') {
      this.#hasMoved = true;
      clearInterval(this.#timer);
      this.#options.onMoved(this).catch(() => this.onFailure());
    }
  }

  async #closeAfter({ end, code, reason, frames = [] }: CloseEvent): Promise<void> {
    if (end > this.written) await this.deliverStored();
    const left = frames.slice(Math.max(0, frames.length - Math.max(0, end - this.written)));
    if (!this.hasLeft) for (const frame of left) this.connection.write(encode(frame) as Bytes);
    this.close(code, reason);
  }

  /** Reads frames from the store, and writes them to the client. Never rejects. */
  async deliverStored(): Promise<void> {
    // Frames that were stored since it began may not have been read.
    await this.#writing;
    this.#writing ??= this.#deliver().finally(() => {
      this.#writing = undefined;
    });
    await this.#writing;
  }

  async #deliver(): Promise<void> {
    const { store, sid } = this.#options;
    try {
      while (!this.hasLeft && !this.connection.isFull) {
        const slice = await store.read(sid, this.written, MAX_ENTRIES);
        if (slice === undefined || slice.frames.length === 0 || this.hasLeft) return;
        if (slice.firstSeq !== this.written + 1) throw new Error('The journal has a gap');
        for (const frame of slice.frames) this.connection.write(encode(frame) as Bytes);
        this.written += slice.frames.length;
      }
    } catch {
      this.close(CloseCode.ServiceRestart, 'Try again');
    }
  }

  async #post(event: OwnerEvent): Promise<void> {
    const { links, owner, link } = this.#options;
    if (!this.hasLeft && !this.#hasMoved) await links.post(owner, link, event);
  }
}

function sizeOf(text: string): number {
  return Buffer.byteLength(text) + FRAME_OVERHEAD_BYTES;
}
