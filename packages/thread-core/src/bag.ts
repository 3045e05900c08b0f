/** What can be in a bag: it keeps its own place. In one bag at a time. */
export interface BagItem {
  /** @internal */
  place: number;
}

/**
 * Things that come and go often, in no order. A Set would do; but it costs several times as much, for what it has to
 * make for each thing and each few comings.
 */
export class Bag<Item extends BagItem> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: Item): void {
    item.place = this.#items.push(item) - 1;
  }

  /** Nothing happens where it is not in here. */
  delete(item: Item): void {
    const { place } = item;
    if (this.#items[place] !== item) return;
    const last = this.#items.pop() as Item;
    if (last === item) return;
    this.#items[place] = last;
    last.place = place;
  }

  /** What is in here now: it may be changed meanwhile. */
  all(): Item[] {
    return this.#items.slice();
  }
}
