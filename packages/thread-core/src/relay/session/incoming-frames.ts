import type { ClientFrame, EndFrame, FrameId } from '@arc/thread-protocol';
import { InvalidRequestError, RateLimitExceededError } from '../../protocol/errors.js';
import { isControl, isCounted, pong } from '../frames/control-frames.js';
import { writeEcho } from '../frames/frame-echo.js';
import { BadFrame, echoOf, isMessage, type ReadFrame, readFrame } from '../frames/frame-reader.js';
import type { RelayConfig } from '../options.js';
import type { Resumption } from '../resume/resumption.js';
import { type HeldFrame, Inbox, type InboxOwner } from './inbox.js';
import type { ReceivingSession } from './receiving-session.js';
import { UnansweredEnds, writeEndedMembers } from './unanswered-ends.js';

/** Size of the frames that are held for a connection that is not admitted yet. */
const MAX_UNADMITTED_BYTES = 64 * 1024;

/** The frames of a client: holds those that have to wait, and handles each when its turn comes. */
export class IncomingFrames implements InboxOwner {
  readonly #session: ReceivingSession;
  readonly #config: RelayConfig;
  /** Exists while frames have to wait. */
  #inbox: Inbox | undefined;
  #ends: UnansweredEnds | undefined;
  /** The frame for which the session's ownership is being checked. */
  #checked: ClientFrame | undefined;
  #isCheckedCancelled = false;
  /** No frame was handled yet: a session can still become resumable. */
  #isFirst = true;
  /** Pongs of a resumable session since its connection is full: they are written although the client does not read. */
  #unreadPongs = 0;

  constructor(session: ReceivingSession, config: RelayConfig) {
    this.#session = session;
    this.#config = config;
  }

  /** Size of the frames that are held, and of the `end` frames that are not answered yet. */
  get heldBytes(): number {
    return (this.#inbox?.bytes ?? 0) + (this.#ends?.bytes ?? 0);
  }

  /** Something is awaited before the next frame is handled. */
  get isAwaiting(): boolean {
    return this.#inbox?.isAwaiting === true;
  }

  /** Whether frames are held, or `end` frames are being answered. */
  get hasUnansweredFrames(): boolean {
    return (this.#inbox?.size ?? 0) > 0 || (this.#ends?.size ?? 0) > 0;
  }

  /** Whether an `end` frame is held, or is being answered. */
  get hasUnansweredEnds(): boolean {
    return this.#checked?.type === 'end' || this.#inbox?.hasEnds === true || (this.#ends?.size ?? 0) > 0;
  }

  /** Ids of the messages that are held, or are being checked. */
  get messageIds(): FrameId[] {
    const { id } = this.#checked !== undefined && isMessage(this.#checked) ? this.#checked : {};
    return [...(id === undefined ? [] : [id]), ...(this.#inbox?.messageIds() ?? [])];
  }

  /** Ids of the `end` frames that are held or not answered yet. */
  get endIds(): FrameId[] {
    const { id } = this.#checked?.type === 'end' ? this.#checked : {};
    return [...(this.#ends?.ids() ?? []), ...(id === undefined ? [] : [id]), ...(this.#inbox?.endIds() ?? [])];
  }

  /** Whether a frame is exempt from `frameRate` and does not count as activity. */
  isExempt(frame: ReadFrame): boolean {
    return this.#session.resumption !== undefined && isControl(frame);
  }

  /** A frame has arrived. */
  receive(frame: ReadFrame, text: string, bytes: number): void {
    const { resumption } = this.#session;
    if (resumption !== undefined) {
      if (this.#handleControl(resumption, frame) || resumption.isLeaving) return;
      if (isCounted(frame)) resumption.count(bytes);
    }
    if (!(frame instanceof BadFrame) && frame.type === 'cancel') {
      // Its send may be held, so it does not wait for its turn.
      if (!this.#session.isBlocked) return this.#cancel(frame.id);
      // A client that does not read gets answers for pending sends only; a held message is cancelled in its turn.
      this.#session.existingSends?.cancel(frame.id);
    }
    if (this.#inbox === undefined) this.#handle(frame, text, bytes);
    else this.#hold(this.#inbox, frame, text, bytes);
  }

  /** A frame exceeded `frameRate`. It still counts as received. */
  receiveExcess(frame: ReadFrame, _text: string, bytes: number): void {
    const { resumption } = this.#session;
    if (resumption?.isLeaving) return;
    if (isCounted(frame)) resumption?.count(bytes);
    this.#rejectExcess(frame, 'Too many frames a second');
  }

  #rejectExcess(frame: ReadFrame, problem: string): void {
    const echo = frame instanceof BadFrame ? frame.echo : echoOf(frame);
    this.#session.rejectFrame(new RateLimitExceededError(problem), echo);
  }

  /** Handles what has no turn in a resumable session. Returns false for all other frames. */
  #handleControl(resumption: Resumption, frame: ReadFrame): boolean {
    if (frame instanceof BadFrame || !isControl(frame)) return false;
    if (frame.type === 'resume') {
      this.#session.rejectFrame(new InvalidRequestError('type: resume must be the first frame'), {});
    } else if (frame.type === 'ack') {
      const { acknowledged } = resumption.journal;
      const isKnown = resumption.onAck(frame);
      if (!isKnown) this.#session.rejectFrame(new InvalidRequestError('seq: no frame has that number'), {});
      else if (resumption.journal.acknowledged > acknowledged) this.#session.onAck(true);
      else if (resumption.takeControl()) this.#session.onAck(false);
      else this.#rejectExcess(frame, 'Too many acknowledgements a second');
    } else if (!resumption.takeControl()) {
      this.#rejectExcess(frame, 'Too many pings a second');
    } else if (this.#hasRoomForPong()) {
      this.#session.writeControl(pong(frame.id));
    } else this.#rejectExcess(frame, 'Too many pongs are waiting');
    return true;
  }

  #hasRoomForPong(): boolean {
    this.#unreadPongs = this.#session.isConnectionFull ? this.#unreadPongs + 1 : 0;
    return this.#unreadPongs <= this.#config.maxPending;
  }

  #hold(inbox: Inbox, frame: ReadFrame, text: string, bytes: number): void {
    const { maxPending, maxPendingBytes } = this.#config;
    const limit = this.#session.isAdmitted ? maxPendingBytes : Math.min(maxPendingBytes, MAX_UNADMITTED_BYTES);
    const isFull = inbox.size >= maxPending;
    if (inbox.hold(frame, text, bytes, this.#roomIn(limit))) return;
    this.#rejectExcess(frame, isFull ? 'Too many frames are waiting' : `More than ${limit} bytes are pending`);
  }

  #roomIn(limit = this.#config.maxPendingBytes): number {
    return limit - this.heldBytes - (this.#session.existingSends?.bytes ?? 0);
  }

  onHeldFrame({ text, bytes, bad }: HeldFrame): void {
    this.#handle(bad ?? this.#read(text), text, bytes);
  }

  #read(text: string): ReadFrame {
    return readFrame(text, this.#config.maxFrameDepth, this.#config.resume !== undefined);
  }

  onEmpty(): void {
    this.#inbox = undefined;
  }

  #handle(frame: ReadFrame, text: string, bytes: number): void {
    if (!this.#session.isReceiving) return;
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (frame instanceof BadFrame) return this.#session.rejectFrame(frame.error, frame.echo);
    if (frame.type === 'resume' && isFirst) {
      const resuming = this.#session.onResume(frame);
      if (resuming !== undefined) this.holdUntil(resuming);
      return;
    }
    const checked = frame.type === 'ping' ? undefined : this.#session.checkOwnership();
    const awaited =
      checked === undefined ? this.#handleAtOnce(frame, text, bytes) : this.#handleAfter(checked, frame, text, bytes);
    if (awaited !== undefined) this.holdUntil(awaited);
  }

  /** After a gap in which another node may have taken the session over, or while the cluster's store is away. */
  async #handleAfter(checked: Promise<void>, frame: ClientFrame, text: string, bytes: number): Promise<void> {
    this.#checked = frame;
    try {
      await checked;
      this.#checked = undefined; // In the same turn it gets into the list of pending sends.
      if (!this.#session.isReceiving) return;
      if (this.#isCheckedCancelled) this.#session.sends.answerCancelled(echoOf(frame));
      else await this.#handleAtOnce(frame, text, bytes);
    } catch (error) {
      this.#session.rejectFrame(error, echoOf(frame), false);
    } finally {
      this.#checked = undefined;
      this.#isCheckedCancelled = false;
    }
  }

  /** Returns a promise if the next frame has to wait. */
  #handleAtOnce(frame: ClientFrame, text: string, bytes: number): Promise<void> | undefined {
    if (isMessage(frame)) {
      const problem = this.#session.resumption === undefined ? undefined : this.#findIdProblem(frame.id);
      if (problem === undefined) return this.#session.sends.add(frame, text, bytes);
      return void this.#session.rejectFrame(new InvalidRequestError(problem), frame);
    }
    if (frame.type === 'resume' || frame.type === 'ack') {
      const problem = `type: ${frame.type} is allowed in resumable sessions only, and resume as the first frame only`;
      return void this.#session.rejectFrame(new InvalidRequestError(problem), {});
    }
    if (frame.type === 'end' && bytes > this.#roomIn())
      return void this.#rejectExcess(frame, `More than ${this.#config.maxPendingBytes} bytes are pending`);
    this.#session.acceptFrame();
    if (frame.type === 'ping') this.#session.writeControl(pong(frame.id));
    else if (frame.type === 'cancel') this.#cancel(frame.id);
    else if (frame.type === 'end') this.#endThread(frame, bytes);
    return undefined;
  }

  /** In a resumable session ids identify the sends that were lost, so each pending send needs its own. */
  #findIdProblem(id: FrameId | undefined): string | undefined {
    if (id === undefined) return 'id: is missing, and is required in a resumable session';
    return this.#session.existingSends?.ids().includes(id) ? 'id: is that of a pending send' : undefined;
  }

  #cancel(id: FrameId): void {
    this.#session.acceptFrame();
    const held = this.take((frame) => frame.isMessage && frame.echo.id === id);
    this.#session.existingSends?.cancel(id);
    if (this.#checked !== undefined && isMessage(this.#checked) && this.#checked.id === id) {
      this.#isCheckedCancelled = true;
    }
    for (const { echo } of held) this.#session.sends.answerCancelled(echo);
  }

  #endThread(frame: EndFrame, bytes: number): void {
    const echo = writeEcho(frame);
    const { agent_id, context_id: contextId, reason, trace_id: traceId } = frame;
    const end = this.#session.threads.endThread(agent_id, { contextId, reason, traceId }).then(
      (outcome) => {
        if (outcome?.ok === false) return this.#session.writeError(outcome.error, echo);
        this.#session.writeMembers(writeEndedMembers(echo, outcome?.text));
      },
      (error: unknown) => this.#session.writeError(error, echo),
    );
    this.#ends ??= new UnansweredEnds();
    this.#ends.add(end, frame.id, bytes);
  }

  /** Holds frames until a promise is fulfilled. It must not be rejected. */
  holdUntil(promise: Promise<void>): void {
    this.#ensureInbox().holdUntil(promise);
  }

  pause(): void {
    this.#ensureInbox().pause();
  }

  unpause(): void {
    this.#inbox?.unpause();
  }

  /** Removes the matching frames among those that are held, and returns them. */
  take(matches: (frame: HeldFrame) => boolean): HeldFrame[] {
    return this.#inbox?.take(matches) ?? [];
  }

  /** Resolves when the `end` frames so far are answered. */
  async whenEndsAnswered(): Promise<void> {
    await this.#ends?.whenAnswered();
  }

  /** Resolves when nothing is awaited before the next frame. */
  async whenReleased(): Promise<void> {
    await this.#inbox?.awaited;
  }

  /** Holds frames that another node has taken, until `unpause`. */
  restore(texts: readonly string[]): void {
    this.#isFirst = false;
    if (texts.length === 0) return;
    // They may be more than `maxPending`: those that were pending, and those that were held.
    this.#inbox = new Inbox(this, Math.max(this.#config.maxPending, texts.length));
    this.pause();
    for (const text of texts) this.#inbox?.hold(this.#read(text), text, Buffer.byteLength(text), Infinity);
  }

  #ensureInbox(): Inbox {
    this.#inbox ??= new Inbox(this, this.#config.maxPending);
    return this.#inbox;
  }
}
