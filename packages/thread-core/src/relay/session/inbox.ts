import type { FrameEcho } from '../frames/frame-echo.js';
import { BadFrame, echoOf, isMessage, type ReadFrame } from '../frames/frame-reader.js';

/** A frame that waits for its turn. Valid frames are kept as text: parsed, they can take twenty times the memory. */
export interface HeldFrame {
  /** Empty if the frame is not valid. */
  readonly text: string;
  /** Size of the text in UTF-8. */
  readonly bytes: number;
  readonly echo: FrameEcho;
  readonly isMessage: boolean;
  readonly isEnd: boolean;
  /** Set if the frame is not valid. */
  readonly bad: BadFrame | undefined;
}

export interface InboxOwner {
  /** A frame has its turn. */
  onHeldFrame(frame: HeldFrame): void;
  /** No frame is held any more, and the next one can be handled at once. */
  onEmpty(): void;
}

/** Client frames that cannot be handled yet, in order: because something is awaited, or because the inbox is paused. */
export class Inbox {
  readonly #owner: InboxOwner;
  readonly #maxFrames: number;
  #held: HeldFrame[] = [];
  #bytes = 0;
  /** Resolves when the wait is over. */
  awaited: Promise<void> | undefined;
  #isPaused = false;
  #isReleasing = false;

  constructor(owner: InboxOwner, maxFrames: number) {
    this.#owner = owner;
    this.#maxFrames = maxFrames;
  }

  /** Something is awaited before the next frame has its turn. */
  get isAwaiting(): boolean {
    return this.awaited !== undefined;
  }

  /** Size of the frames that are held. */
  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#held.length;
  }

  /** Ids of the messages that are held. */
  messageIds(): (string | number)[] {
    return this.#held.flatMap(({ isMessage, echo }) => (isMessage && echo.id !== undefined ? [echo.id] : []));
  }

  /** Ids of the `end` frames that are held. */
  endIds(): (string | number)[] {
    return this.#held.flatMap(({ isEnd, echo }) => (isEnd && echo.id !== undefined ? [echo.id] : []));
  }

  /** Whether an `end` frame is held. */
  get hasEnds(): boolean {
    return this.#held.some(({ isEnd }) => isEnd);
  }

  /** Holds a frame. Returns false if too many are held, or if it has more than `room` bytes. */
  hold(frame: ReadFrame, text: string, bytes: number, room: number): boolean {
    const bad = frame instanceof BadFrame ? frame : undefined;
    // Of an invalid frame only the error is kept.
    const size = bad === undefined ? bytes : 0;
    if (this.#held.length >= this.#maxFrames || size > room) return false;
    this.#bytes += size;
    const echo = frame instanceof BadFrame ? frame.echo : echoOf(frame);
    const isEnd = !(frame instanceof BadFrame) && !isMessage(frame) && frame.type === 'end';
    this.#held.push({
      text: bad === undefined ? text : '',
      bytes: size,
      echo,
      isMessage: isMessage(frame),
      isEnd,
      bad,
    });
    return true;
  }

  /** Holds frames until a promise is fulfilled. It must not be rejected. */
  holdUntil(promise: Promise<void>): void {
    this.awaited = promise.then(() => {
      this.awaited = undefined;
      this.#release();
    });
  }

  /** Holds frames until `unpause`. */
  pause(): void {
    this.#isPaused = true;
  }

  unpause(): void {
    this.#isPaused = false;
    this.#release();
  }

  /** Removes the matching frames, and returns them. */
  take(matches: (frame: HeldFrame) => boolean): HeldFrame[] {
    const taken = this.#held.filter(matches);
    if (taken.length === 0) return taken;
    this.#held = this.#held.filter((frame) => !taken.includes(frame));
    for (const { bytes } of taken) this.#bytes -= bytes;
    return taken;
  }

  #release(): void {
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    try {
      // A frame may cause another wait, or remove the frames behind it.
      while (!this.isAwaiting && !this.#isPaused) {
        const frame = this.#held.shift();
        if (frame === undefined) break;
        this.#bytes -= frame.bytes;
        this.#owner.onHeldFrame(frame);
      }
    } finally {
      this.#isReleasing = false;
    }
    if (!this.isAwaiting && !this.#isPaused) this.#owner.onEmpty();
  }
}
