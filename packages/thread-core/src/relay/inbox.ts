/** What the frames of an inbox are for. */
export interface InboxOwner {
  onFrame(text: string): void;
  /** More frames wait than are kept. */
  onOverflow(text: string): void;
}

/**
 * Frames on their way in. While something is awaited, or the inbox is shut, they are kept, in the order they came, up
 * to a limit. An inbox in which nothing waits has nothing but itself.
 */
export class Inbox {
  readonly #owner: InboxOwner;
  readonly #limit: number;
  #held: string[] | undefined;
  #isAwaiting = false;
  #isShut = false;

  constructor(owner: InboxOwner, limit: number) {
    this.#owner = owner;
    this.#limit = limit;
  }

  push(text: string): void {
    if (this.#held === undefined) this.#owner.onFrame(text);
    else if (this.#held.length < this.#limit) this.#held.push(text);
    else this.#owner.onOverflow(text);
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

  /** Drops what is kept. */
  clear(): void {
    if (this.#held !== undefined) this.#held = [];
  }

  #release(): void {
    if (this.#isAwaiting || this.#isShut) return;
    const held = this.#held ?? [];
    this.#held = undefined;
    while (held.length > 0 && this.#held === undefined) this.#owner.onFrame(held.shift() as string);
    // One of them has something awaited again, and those behind it wait with it.
    (this.#held as string[] | undefined)?.push(...held);
  }
}
