import { MAX_TIMEOUT_MS } from '../values.js';

/** What has a time-out. */
export interface Timed {
  /** Its position in the list. @internal */
  index: number;
  /** When it times out, as `performance.now()` counts; infinite: never. @internal */
  readonly deadline: number;
  /** Must not throw: others time out after it. @internal */
  timeOut(): void;
}

/** The least milliseconds between two sweeps. */
const MIN_PAUSE_MS = 5;

/**
 * The time-outs of all that is under way, with one timer: nearly all of it ends long before its deadline, and a timer for
 * each would be made for nothing. The timer keeps the process alive only while something is under way.
 */
export class Deadlines<Item extends Timed> {
  /** In no order. A Set would allocate more for each item than the item itself. */
  readonly #items: Item[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** When the timer sweeps next. */
  #nextSweep = Number.POSITIVE_INFINITY;

  add(item: Item): void {
    item.index = this.#items.push(item) - 1;
    if (item.index === 0) this.#timer?.ref();
  }

  /** Does nothing if the item is not in the list. */
  delete(item: Item): void {
    const { index } = item;
    if (this.#items[index] !== item) return;
    const last = this.#items.pop() as Item;
    if (last !== item) {
      this.#items[index] = last;
      last.index = index;
    }
    if (this.#items.length === 0) this.#timer?.unref();
  }

  /** To be called with each new deadline: it may be earlier than all others. */
  note(deadline: number): void {
    if (deadline < this.#nextSweep) this.#sweepAt(deadline, performance.now());
  }

  /** Sweeps no more: nothing is to be under way from now on. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#nextSweep = Number.NEGATIVE_INFINITY;
  }

  /** A copy of the list. */
  all(): Item[] {
    return this.#items.slice();
  }

  #sweepAt(at: number, now: number): void {
    clearTimeout(this.#timer);
    this.#nextSweep = at;
    this.#timer = setTimeout(() => this.#sweep(), Math.min(at - now, MAX_TIMEOUT_MS));
    if (this.#items.length === 0) this.#timer.unref();
  }

  #sweep(): void {
    this.#timer = undefined;
    this.#nextSweep = Number.POSITIVE_INFINITY;
    const now = performance.now();
    // If one of them throws, the others are checked again soon.
    let next = now;
    try {
      let earliest = Number.POSITIVE_INFINITY;
      for (const item of this.all()) {
        // Timers count whole milliseconds, and may be early by a part of one.
        if (item.deadline <= now + 1) item.timeOut();
        else earliest = Math.min(earliest, item.deadline);
      }
      next = earliest;
    } finally {
      if (next < this.#nextSweep) this.#sweepAt(Math.max(next, now + MIN_PAUSE_MS), now);
    }
  }
}
