import { Bag, type BagItem } from '../bag.js';
import { LONGEST_TIME } from '../values.js';

/** What has its time, and hears when that is over. */
export interface Timed extends BagItem {
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
  readonly #items = new Bag<Item>();
  #timer: NodeJS.Timeout | undefined;
  /** When the timer looks next. */
  #at = Number.POSITIVE_INFINITY;

  add(item: Item): void {
    this.#items.add(item);
    if (this.#items.size === 1) this.#timer?.ref();
  }

  delete(item: Item): void {
    this.#items.delete(item);
    if (this.#items.size === 0) this.#timer?.unref();
  }

  /** Takes note of a deadline that may be earlier than all others. */
  note(deadline: number): void {
    if (deadline < this.#at) this.#lookAt(deadline, performance.now());
  }

  /** What is under way. */
  all(): Item[] {
    return this.#items.all();
  }

  #lookAt(at: number, now: number): void {
    clearTimeout(this.#timer);
    this.#at = at;
    this.#timer = setTimeout(() => this.#look(), Math.min(at - now, LONGEST_TIME));
    if (this.#items.size === 0) this.#timer.unref();
  }

  #look(): void {
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#items.all()) {
      // Timers count whole milliseconds, and may be early by a part of one.
      if (item.deadline <= now + 1) item.timeOut();
      else next = Math.min(next, item.deadline);
    }
    if (next < this.#at) this.#lookAt(Math.max(next, now + LEAST_PAUSE), now);
  }
}
