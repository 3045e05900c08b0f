import { LONGEST_TIME } from '../values.js';

/** What has its time, and hears when that is over. */
export interface Timed {
  /** Where it is kept. @internal */
  place: number;
  /** As `performance.now()` counts; infinite: never. @internal */
  readonly deadline: number;
  /** @internal */
  timeOut(): void;
}

/** So many milliseconds are between two looks at least, whatever runs out between them. */
const LEAST_PAUSE = 5;

/**
 * Looks after the time of all that is under way, with one timer: nearly all of it is over long before its time, and a
 * timer for each would be made for nothing. The timer keeps the process alive only while something is under way.
 */
export class Deadlines<Item extends Timed> {
  /** In no order. A Set would make more for each item than the item itself. */
  readonly #items: Item[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** When the timer looks next. */
  #at = Number.POSITIVE_INFINITY;

  add(item: Item): void {
    item.place = this.#items.push(item) - 1;
    if (item.place === 0) this.#timer?.ref();
  }

  /** Nothing happens where it is not in here. */
  delete(item: Item): void {
    const { place } = item;
    if (this.#items[place] !== item) return;
    const last = this.#items.pop() as Item;
    if (last !== item) {
      this.#items[place] = last;
      last.place = place;
    }
    if (this.#items.length === 0) this.#timer?.unref();
  }

  /** Takes note of a deadline that may be earlier than all others. */
  note(deadline: number): void {
    if (deadline < this.#at) this.#lookAt(deadline, performance.now());
  }

  /** Looks no more: nothing is to be under way from now on. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#at = Number.NEGATIVE_INFINITY;
  }

  /** What is under way now. */
  all(): Item[] {
    return this.#items.slice();
  }

  #lookAt(at: number, now: number): void {
    clearTimeout(this.#timer);
    this.#at = at;
    this.#timer = setTimeout(() => this.#look(), Math.min(at - now, LONGEST_TIME));
    if (this.#items.length === 0) this.#timer.unref();
  }

  #look(): void {
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
    const now = performance.now();
    // Should one of them throw, the others are looked at again soon.
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
      if (next < this.#at) this.#lookAt(Math.max(next, now + LEAST_PAUSE), now);
    }
  }
}
