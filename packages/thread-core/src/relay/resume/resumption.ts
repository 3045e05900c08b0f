import type { AckFrame, FrameId, NotResumedReason } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import type { ResumeConfig } from '../api.js';
import { TokenBucket } from '../connection/rate-limiter.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { CONTROL_RATE } from '../frames/control-frames.js';
import { FrameCount } from './frame-count.js';
import { Journal } from './journal.js';
import { JournalSpill, type SpillTarget } from './journal-spill.js';
import { writeReady, writeResumed } from './ready-frame.js';
import { hashSecret, makeSecret, writeToken } from './session-secret.js';

/** Cursors (`seq`, `sent`) must be below this, so that arithmetic with them is exact. */
const MAX_CURSOR = 2 ** 52;

/** Whether a client may have received, or sent, so many frames. */
export function isCursor(count: number): boolean {
  return Number.isSafeInteger(count) && count >= 0 && count < MAX_CURSOR;
}

/** What a resumption needs of its session. */
export interface ResumptionOwner {
  /** Bytes were added to the journal. */
  onAppended(bytes: number): void;
}

/** What a client says when it resumes: the number of the last frame that it has seen, and how many it has sent. */
export interface ClientProgress {
  readonly seq: number;
  readonly sent: number;
}

/** How far a session had come on another node. */
export interface FormerResumption {
  readonly secretHash: string;
  /** The number of the last frame that the client has acknowledged. */
  readonly acknowledged: number;
  /** The frames after it. */
  readonly frames: Bytes[];
  /** How many frames of the client were taken. */
  readonly got: number;
  /** The number of the last frame that the store has; 0 if it has none. */
  readonly stored: number;
  /** Whether its owner has told all this. Otherwise its lease was over, and only the client knows how far it had come. */
  readonly isExact: boolean;
}

/**
 * What makes a session resumable: numbers its frames and keeps them until they are acknowledged, counts the client's
 * frames, and writes to whichever connection there is.
 */
export class Resumption {
  /** What `identity.key` gave: only the same identity may resume the session. */
  readonly identityKey: string;
  readonly secretHash: string;
  readonly journal: Journal;
  readonly #owner: ResumptionOwner;
  readonly #config: ResumeConfig;
  readonly #count: FrameCount;
  readonly #control = new TokenBucket(CONTROL_RATE);
  /** Copies the journal to the store of a cluster. */
  spill: JournalSpill | undefined;
  /** The session is moving, and accepts no more client frames. The client sends them again to the next node. */
  isLeaving = false;
  /** Resolves when an attempt to give the session to another node is over. */
  moving: Promise<unknown> | undefined;
  /** The number of the last frame that the store had when this node took the session over. */
  readonly #stored: number = 0;
  /**
   * It was claimed from an owner whose lease was over, and nothing has come from its client since. Requests to resume are no proof:
   * one may be of a connection that the client has left, to continue with the owner.
   */
  isUnproven = false;
  /** It has had a connection on this node. */
  hasConnected = false;
  /** When the client asked for the session on its latest connection, or earlier, by the monotonic clock. */
  askedAt = performance.now();
  #connection: SessionConnection | undefined;
  /** The nodes that have asked for the session since it has this connection, and the id of the last question of each. */
  #askedBy: Map<string, string | undefined> | undefined;
  #isDiscarded = false;
  #graceTimer: NodeJS.Timeout | undefined;
  /** The address of the last connection. */
  address = '';
  /** The token of a new session, until `ready` is written. */
  #token: string | undefined;

  /** Without `former`: the resumption of a new session, for which a secret is generated. */
  constructor(
    owner: ResumptionOwner,
    config: ResumeConfig,
    sid: string,
    identityKey: string,
    former?: FormerResumption,
  ) {
    this.#owner = owner;
    this.#config = config;
    this.identityKey = identityKey;
    this.journal = new Journal(config.maxBufferedBytes, former?.acknowledged);
    this.#count = new FrameCount(() => this.#acknowledge());
    if (former === undefined) {
      const secret = makeSecret();
      this.secretHash = hashSecret(secret);
      this.#token = writeToken({ sid, secret });
    } else {
      this.secretHash = former.secretHash;
      this.#stored = former.stored;
      this.#count.got = former.got;
      this.journal.restore(former.frames);
      this.isUnproven = !former.isExact;
    }
  }

  /** The client may know the session: its `ready` was written. */
  get hasBegun(): boolean {
    return this.#token === undefined;
  }

  /** How many frames of the client have arrived. */
  get got(): number {
    return this.#count.got;
  }

  /** `members`: a frame without `{`. */
  write(members: Bytes): void {
    if (this.#isDiscarded) return;
    const frame = this.journal.number(members);
    const isBatched = this.#connection?.write(frame) === true;
    this.journal.append(frame, isBatched);
    this.spill?.noteFrame();
    this.#owner.onAppended(frame.length);
  }

  /** A frame of the client that counts has arrived. */
  count(bytes: number): void {
    this.isUnproven = false;
    this.#count.add(bytes);
  }

  /** A frame was rejected for its size. It counts as arrived: sent again, it would close the next connection, too. */
  countOversized(): void {
    this.#count.got += 1;
  }

  /** The client has received frames. False if it cannot have received these. Repeating an acknowledgement is allowed. */
  onAck({ seq }: AckFrame): boolean {
    if (!this.journal.isPossible(seq)) return false;
    this.isUnproven = false;
    this.acknowledge(seq);
    return true;
  }

  /** The client has received all frames up to this one. */
  acknowledge(seq: number): void {
    this.journal.acknowledge(seq);
    this.spill?.noteAck();
  }

  /** Whether one more ping or repeated acknowledgement is allowed now. */
  takeControl(): boolean {
    return this.#control.take();
  }

  /** Copies the journal to the store of a cluster, until there is a connection. */
  startSpill(target: SpillTarget): JournalSpill {
    this.spill ??= new JournalSpill(this.journal, target, this.#stored);
    this.spill.start();
    return this.spill;
  }

  /**
   * Starts the session on its first connection. `reason`: why it replaces the one that the client asked for.
   * `received`: how many frames of the client had arrived there, if that is known.
   */
  begin(connection: SessionConnection, reason: NotResumedReason | undefined, received: number | undefined): void {
    this.#attach(connection);
    connection.write(writeReady(this.#config, this.#token ?? '', reason, received));
    this.#token = undefined;
  }

  /** Whether a client that has seen frame `seq` and has sent `sent` frames can continue this session. */
  canResume(seq: number, sent: number): boolean {
    const isCount = Number.isSafeInteger(sent) && sent < MAX_CURSOR;
    const isSeen = this.journal.isPossible(seq) || this.#isAhead(seq);
    return isCount && sent >= this.got && seq < MAX_CURSOR && isSeen;
  }

  /** Whether the client has seen more than this node knows of: it may have asked here, and then continued with the owner. */
  #isAhead(seq: number): boolean {
    return this.isUnproven && Number.isSafeInteger(seq) && seq > this.journal.lastSeq;
  }

  /** A client that can continue the session has asked for it: it has seen the frames up to this one, and has sent so many. */
  settle(seq: number, sent: number): void {
    if (this.#isAhead(seq)) this.journal.skipTo(seq);
    // All that it has sent counts as accepted: to accept a message twice is worse than not at all.
    if (this.isUnproven) this.#count.got = sent;
    this.acknowledge(seq);
  }

  /** Continues on another connection: writes `ready`, and replays the frames that the client has not seen. */
  resume(connection: SessionConnection, token: string, { seq, sent }: ClientProgress, pending: FrameId[]): void {
    this.#attach(connection);
    this.spill?.stop();
    this.settle(seq, sent);
    const { lastSeq } = this.journal;
    connection.write(writeResumed(this.#config, token, { seq: lastSeq, got: this.got, pending }));
    for (const frame of this.journal.frames()) connection.write(frame);
  }

  /** Continues on a connection whose client already has its `ready`, and has seen the frames up to `seen`. */
  continueOn(connection: SessionConnection, seen: number): void {
    this.#attach(connection);
    this.spill?.stop();
    for (const frame of this.journal.framesAfter(seen)) connection.write(frame);
  }

  /** Continues on a connection of another node, which reads the frames that the client has not seen from the store. */
  resumeRemotely(connection: SessionConnection): void {
    this.#attach(connection);
  }

  /**
   * Whether another node's question for the session may be older than the connection. That node is to ask again, which it does only
   * while it has the client: a connection that is taken over is closed for good. It has asked again if it has heard that: more than
   * one question of it may be late. A node of an older build does not say so.
   */
  mayBeLate(node: string, { ask, answered }: { readonly ask?: string; readonly answered?: string }): boolean {
    if (this.#connection === undefined) return false;
    this.#askedBy ??= new Map();
    const hasAskedAgain = this.#askedBy.has(node) && (ask === undefined || this.#askedBy.get(node) === answered);
    if (!hasAskedAgain) this.#askedBy.set(node, ask);
    return !hasAskedAgain;
  }

  /** The connection is lost. Calls back if the session gets no other within the grace period. */
  detach(onExpired: () => void): void {
    this.stop();
    this.#graceTimer = setTimeout(onExpired, this.#config.grace).unref();
  }

  /** No client will read the frames: keeps nothing from now on. */
  discard(): void {
    this.stop();
    // What the store has may be another node's by now.
    this.spill?.stop();
    this.#isDiscarded = true;
    this.journal.acknowledge(this.journal.lastSeq);
  }

  /** Releases the connection, and stops the grace timer and acknowledgements. */
  stop(): void {
    this.stopTimers();
    this.journal.closeBatch();
    this.#connection = undefined;
  }

  /** The session begins to end: its last frames are still written to the connection. */
  stopTimers(): void {
    clearTimeout(this.#graceTimer);
    this.#count.reset();
  }

  #attach(connection: SessionConnection): void {
    const { socket } = (connection.request ?? {}) as { socket?: { remoteAddress?: string | undefined } };
    this.stop();
    this.hasConnected = true;
    this.#connection = connection;
    this.#askedBy = undefined;
    // That of a client of another node is not known here: it counts by its former one.
    if (connection.request !== undefined) this.address = socket?.remoteAddress ?? '';
  }

  #acknowledge(): void {
    this.#count.reset();
    this.#connection?.writeControl(`{"type":"ack","seq":${this.got}}` as Bytes);
  }
}
