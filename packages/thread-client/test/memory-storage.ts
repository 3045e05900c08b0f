import type { StorageLike } from '../src/index.js';

// Node has Web Locks since version 24. The pages of a test are in one process, in which nothing releases the lock of a page that was reloaded.
if (globalThis.navigator !== undefined) Reflect.deleteProperty(Object.getPrototypeOf(globalThis.navigator), 'locks');

/** A storage with a size, such as a browser's. */
export class MemoryStorage implements StorageLike {
  readonly items = new Map<string, string>();
  readonly writes: string[] = [];
  room = 5_000_000;

  /** What a reloaded page, or a duplicated tab, finds. */
  copy(): MemoryStorage {
    const copy = new MemoryStorage();
    for (const [key, value] of this.items) copy.items.set(key, value);
    return copy;
  }

  getItem(key: string): string | null {
    return this.items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    let size = key.length + value.length;
    for (const [other, text] of this.items) if (other !== key) size += other.length + text.length;
    if (size > this.room) throw new DOMException('full', 'QuotaExceededError');
    this.items.set(key, value);
    this.writes.push(key);
  }

  removeItem(key: string): void {
    this.items.delete(key);
  }
}
