import type { BadFrame, ClientFrame } from './frames.js';

/** A frame as it was read. */
export type ReadFrame = ClientFrame | BadFrame;

/** What the frames of an inbox are for. */
export interface InboxOwner {
  onFrame(frame: ReadFrame): void;
  /** More frames wait than are kept. */
  onOverflow(frame: ReadFrame): void;
  /** There is no reason any more to keep any. */
  onEmpty(): void;
}

/**
 * Frames on their way in. While something is awaited, or the inbox is shut, they are kept, in the order they came, up
 * to a limit.
 */
export class Inbox {
  readonly #owner: InboxOwner;
  readonly #limit: number;
  #held: ReadFrame[] | undefined;
  #isAwaiting = false;
  #isShut = false;
  #isReleasing = false;

  constructor(owner: InboxOwner, limit: number) {
    this.#owner = owner;
    this.#limit = limit;
  }

  /** Something is awaited before the next frame is looked at. */
  get isAwaiting(): boolean {
    return this.#isAwaiting;
  }

  push(frame: ReadFrame): void {
    if (this.#held === undefined) this.#owner.onFrame(frame);
    else if (this.#held.length < this.#limit) this.#held.push(frame);
    else this.#owner.onOverflow(frame);
  }

  /** Keeps frames until a promise, which must not be rejected, is fulfilled. */
  await(promise: Promise<void>): void {
    this.#held ??= [];
    this.#isAwaiting = true;
    void promise.then(() => {
      this.#isAwaiting = false;
      this.#release();
    });
  }

  /** Keeps frames until `open`. */
  shut(): void {
    this.#held ??= [];
    this.#isShut = true;
  }

  open(): void {
    this.#isShut = false;
    this.#release();
  }

  /** Takes out those of the frames that are kept which are picked. */
  take(pick: (frame: ReadFrame) => boolean): ReadFrame[] {
    const held = this.#held;
    if (held === undefined || held.length === 0) return [];
    this.#held = held.filter((frame) => !pick(frame));
    return held.filter(pick);
  }

  #release(): void {
    if (this.#isReleasing) return;
    this.#isReleasing = true;
    // One of them may have something awaited again, or all the rest taken out.
    while (!this.#isAwaiting && !this.#isShut && this.#held !== undefined) {
      const frame = this.#held.shift();
      if (frame === undefined) this.#held = undefined;
      else this.#owner.onFrame(frame);
    }
    this.#isReleasing = false;
    if (this.#held === undefined) this.#owner.onEmpty();
  }
}
