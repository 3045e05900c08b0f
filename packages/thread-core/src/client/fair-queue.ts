/** What can wait in a `FairQueue`. */
export interface Waiting<Self> {
  /** On whose behalf it waits; undefined for the application itself. */
  readonly owner: object | undefined;
  /** It is not wanted any more, and is dropped. */
  readonly isSettled: boolean;
  /** The next one of the same owner. */
  next: Self | undefined;
}

/** The items of one owner, in order of arrival: a linked list. */
interface Line<Item> {
  first: Item;
  last: Item;
}

/** A queue in which owners take turns: an owner with many items delays the others by no more than one item a turn. */
export class FairQueue<Item extends Waiting<Item>> {
  /** In the order of their turns. */
  readonly #lines = new Map<object | undefined, Line<Item>>();
  #size = 0;

  /** Items that wait, settled ones included until they are dropped. */
  get size(): number {
    return this.#size;
  }

  push(item: Item): void {
    this.#size += 1;
    const line = this.#lines.get(item.owner);
    if (line === undefined) {
      this.#lines.set(item.owner, { first: item, last: item });
    } else {
      line.last.next = item;
      line.last = item;
    }
  }

  /** Takes the first item of the next owner that is accepted. That owner has its next turn after all others. */
  take(accepts: (owner: object | undefined) => boolean): Item | undefined {
    for (const [owner, line] of this.#lines) {
      this.#dropSettled(owner, line);
      if (line.first.isSettled || !accepts(owner)) continue;
      const item = line.first;
      this.#lines.delete(owner);
      if (this.#shift(line)) this.#lines.set(owner, line);
      return item;
    }
    return undefined;
  }

  /** Drops all settled items, wherever they stand. */
  prune(): void {
    for (const item of this.drain()) if (!item.isSettled) this.push(item);
  }

  /** Takes all items. */
  drain(): Item[] {
    const items: Item[] = [];
    for (const line of this.#lines.values()) {
      do items.push(line.first);
      while (this.#shift(line));
    }
    this.#lines.clear();
    return items;
  }

  /** Drops settled items at the head of a line, and the line itself if no others are left. */
  #dropSettled(owner: object | undefined, line: Line<Item>): void {
    while (line.first.isSettled) {
      if (this.#shift(line)) continue;
      this.#lines.delete(owner);
      return;
    }
  }

  /** Takes the first item out of a line. Returns false if it was the last, which stays in `first`. */
  #shift(line: Line<Item>): boolean {
    const { next } = line.first;
    line.first.next = undefined;
    this.#size -= 1;
    if (next === undefined) return false;
    line.first = next;
    return true;
  }
}
