import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { FrameId } from '@arc/thread-protocol';
import { type Bytes, flatten } from '../../bytes.js';
import type { ThreadManager } from '../../threads/thread-manager.js';
import type { SessionConnection } from '../connection/session-connection.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import type { Resumption } from '../resume/resumption.js';
import type { PendingSends } from '../sends/pending-sends.js';
import type { IncomingFrames } from './incoming-frames.js';
import type { SessionEnd } from './session-end.js';
import type { SessionThreads } from './session-threads.js';

/** How often a session whose frames wait for its client is checked. */
const REST_INTERVAL_MS = 20;

/** The parts of a session, and what follows from them. Parts are created on demand, so that an idle session costs little. */
export class SessionParts {
  identity: unknown;
  isAdmitted = false;
  /** By the monotonic clock. Of one that another node had that is not known: it counts as older than any sign-out. */
  begunAt = performance.now();
  connection: SessionConnection | undefined;
  resumption: Resumption | undefined;
  existingSends: PendingSends | undefined;
  protected frames: IncomingFrames | undefined;
  protected sessionThreads: SessionThreads | undefined;
  protected end: SessionEnd | undefined;
  protected sid: string | undefined;

  get id(): string {
    // Node joins it from 14 pieces, each of which would stay in memory.
    this.sid ??= flatten(randomUUID());
    return this.sid;
  }

  get request(): IncomingMessage | undefined {
    return this.connection?.request;
  }

  /** Undefined if there never was a thread. */
  get existingThreads(): ThreadManager | undefined {
    return this.sessionThreads?.manager;
  }

  get pending(): number {
    return this.existingSends?.size ?? 0;
  }

  get heldBytes(): number {
    return this.frames?.heldBytes ?? 0;
  }

  /** Size of the frames that are kept for its client, and of the client's frames that are pending or held. */
  get keptBytes(): number {
    return (this.resumption?.journal.bytes ?? 0) + (this.existingSends?.bytes ?? 0) + this.heldBytes;
  }

  get isEnding(): boolean {
    return this.end?.hasStarted === true;
  }

  get hasEndedChats(): boolean {
    return this.end?.hasEndedChats === true;
  }

  get finishing(): Promise<void> | undefined {
    return this.end?.finishing;
  }

  /** It waits for another connection. */
  get isDetached(): boolean {
    return this.connection === undefined && !this.isEnding;
  }

  get isReceiving(): boolean {
    return this.resumption === undefined ? this.connection?.isOpen === true : !this.isEnding;
  }

  get isConnectionFull(): boolean {
    return this.connection?.isFull === true;
  }

  get isBlocked(): boolean {
    return this.isConnectionFull || this.resumption?.journal.isFull === true;
  }

  get frameStart(): '{' | '' {
    return this.resumption === undefined ? '{' : '';
  }

  write(frame: Bytes): void {
    (this.resumption ?? this.connection)?.write(frame);
  }

  writeMembers(members: Bytes): void {
    this.write(`${this.frameStart}${members}` as Bytes);
  }

  onBatch(frames: string): void {
    this.resumption?.journal.onBatch(frames);
  }

  writeControl(frame: Bytes): void {
    if (this.resumption === undefined) this.connection?.write(frame);
    else this.connection?.writeControl(frame);
  }

  /** No send is pending, no chat is being ended, and nothing is awaited. Frames may be held. */
  get isIdle(): boolean {
    const isEndingChats = this.existingThreads !== undefined && this.existingThreads.endingCount > 0;
    return this.pending === 0 && !isEndingChats && this.frames?.isAwaiting !== true;
  }

  /** Frames are held, or `end` frames are being answered. */
  get hasUnansweredFrames(): boolean {
    return this.frames?.hasUnansweredFrames === true;
  }

  /** An `end` frame is held, or is being answered. */
  get hasUnansweredEnds(): boolean {
    return this.isAdmitted && this.isReceiving && this.frames?.hasUnansweredEnds === true;
  }

  /** No frame is held or unanswered, and nothing is awaited before the next one. */
  get areFramesHandled(): boolean {
    return !this.hasUnansweredFrames && this.frames?.isAwaiting !== true;
  }

  get isWorthKeeping(): boolean {
    const hasThreads = this.existingThreads !== undefined && this.existingThreads.threadCount > 0;
    return hasThreads || this.pending > 0 || !this.areFramesHandled || this.resumption?.journal.isEmpty === false;
  }

  /** Nothing runs or waits, no chat is being ended, and no frame is held. */
  get isAtRest(): boolean {
    // The application may have sends of its own in the threads.
    const isSending = this.existingThreads !== undefined && this.existingThreads.sendCount > 0;
    return this.isIdle && this.areFramesHandled && !isSending;
  }

  /** Resolves when the session is at rest, or ends. */
  async whenAtRest(): Promise<void> {
    while (!this.isAtRest && !this.isEnding) {
      await this.frames?.whenReleased();
      await this.existingSends?.whenEmpty();
      await this.frames?.whenEndsAnswered();
      await this.existingThreads?.whenEnded();
      // Frames of a client that does not read may wait for long, and no event says when that ends.
      if (!this.isAtRest) await delay(REST_INTERVAL_MS, undefined, { ref: false });
    }
  }

  /** Resolves when no `end` frame is held or being answered, or when none is answered any more. */
  protected async whenEndsAnswered(): Promise<void> {
    while (this.hasUnansweredEnds) {
      await this.frames?.whenEndsAnswered();
      // One that is held has its turn once something is decided, or the client has read.
      if (this.hasUnansweredEnds) await delay(REST_INTERVAL_MS, undefined, { ref: false });
    }
  }

  /** Ids of the messages that are pending or held. */
  messageIds(): FrameId[] {
    return [...(this.existingSends?.ids() ?? []), ...(this.frames?.messageIds ?? [])];
  }

  /** Ids of the messages and `end` frames that are not answered yet. */
  pendingIds(): FrameId[] {
    return [...this.messageIds(), ...(this.frames?.endIds ?? [])];
  }

  /** Removes the frames that are held, and returns their texts. */
  takeHeldTexts(): string[] {
    const held = this.frames?.take(() => true) ?? [];
    return held.filter(({ bad }) => bad === undefined).map(({ text }) => text);
  }

  holdTexts(texts: string[]): void {
    this.frames?.restore(texts);
  }

  takeHeldMessages(): FrameEcho[] {
    return this.frames?.take(({ isMessage }) => isMessage).map(({ echo }) => echo) ?? [];
  }

  /** A promise if another node may have the session by now, and may continue its chats. */
  confirmOwnership(): Promise<void> | undefined {
    return this.resumption === undefined ? undefined : this.sessionThreads?.confirm();
  }

  /** A frame was accepted. */
  acceptFrame(): void {
    this.connection?.resetBadFrames();
  }

  /** Drops the connection without a close frame. */
  terminate(): void {
    this.connection?.terminate();
  }
}
