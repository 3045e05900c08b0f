import type { Logger } from '../logger.js';
import { isThenable } from '../values.js';
import { type ThreadEntry, type ThreadStore, threadKey } from './store.js';

/** Writes that the application's store has missed are kept up to this many; the oldest are dropped first. */
const MAX_MISSED_WRITES = 1000;

/**
 * The application's store, behind a guard: whatever it throws, rejects or returns, no send fails and no chat is left
 * open. What the store does not take is kept here and written again when it takes something. What it does not give
 * comes from a copy of all that was written through this guard.
 */
export class GuardedStore implements ThreadStore {
  readonly #store: ThreadStore;
  readonly #logger: Logger;
  readonly #written = new Map<string, ThreadEntry>();
  /** What should be in the store and is not; undefined: the entry should not be there. */
  readonly #missed = new Map<string, ThreadEntry | undefined>();

  constructor(store: ThreadStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  get(key: string): ThreadEntry | undefined {
    if (this.#missed.has(key)) return this.#missed.get(key);
    try {
      const found = this.#store.get(key);
      // A copy, because the store's own may be frozen.
      if (isEntry(found)) return { ...found };
      if (this.#isPromise(found)) return this.#written.get(key);
      this.#written.delete(key);
      return undefined;
    } catch (err) {
      this.#log(err);
      return this.#written.get(key);
    }
  }

  set(key: string, entry: ThreadEntry): void {
    this.#written.set(key, entry);
    this.#write(key, entry);
  }

  delete(key: string): void {
    this.#written.delete(key);
    this.#write(key, undefined);
  }

  values(): ThreadEntry[] {
    const found = new Map<string, ThreadEntry>();
    try {
      const values = this.#store.values();
      if (this.#isPromise(values)) throw new TypeError('The store of threads must be synchronous');
      for (const entry of values) {
        if (this.#isPromise(entry)) throw new TypeError('The store of threads must be synchronous');
        if (isEntry(entry)) found.set(threadKey(entry.agentId, entry.contextId), { ...entry });
      }
    } catch (err) {
      this.#log(err);
      for (const [key, entry] of this.#written) found.set(key, entry);
    }
    for (const [key, entry] of this.#missed) {
      if (entry === undefined) found.delete(key);
      else found.set(key, entry);
    }
    return [...found.values()];
  }

  clear(): void {
    const keys = this.values().map(({ agentId, contextId }) => threadKey(agentId, contextId));
    for (const key of [...keys, ...this.#written.keys()]) this.#miss(key, undefined);
    this.#written.clear();
    this.#attempt(
      () => this.#store.clear(),
      () => {
        for (const [key, entry] of this.#missed) if (entry === undefined) this.#missed.delete(key);
      },
    );
  }

  get size(): number {
    if (this.#missed.size > 0) return this.values().length;
    try {
      const { size } = this.#store;
      if (typeof size === 'number') return size;
      this.#isPromise(size);
    } catch (err) {
      this.#log(err);
    }
    return this.values().length;
  }

  #write(key: string, entry: ThreadEntry | undefined): void {
    this.#miss(key, entry);
    this.#attempt(
      () => (entry === undefined ? this.#store.delete(key) : this.#store.set(key, entry)),
      () => {
        // Unless there was a later write meanwhile.
        if (this.#missed.get(key) === entry) this.#missed.delete(key);
        this.#writeMissed();
      },
    );
  }

  #miss(key: string, entry: ThreadEntry | undefined): void {
    this.#missed.delete(key);
    this.#missed.set(key, entry);
    if (this.#missed.size > MAX_MISSED_WRITES) this.#missed.delete(this.#missed.keys().next().value as string);
  }

  /** Writes what was missed, until that fails again. */
  #writeMissed(): void {
    for (const [key, entry] of this.#missed) {
      try {
        const result: unknown = entry === undefined ? this.#store.delete(key) : this.#store.set(key, entry);
        if (this.#isPromise(result)) return;
      } catch {
        return;
      }
      this.#missed.delete(key);
    }
  }

  /** Calls the store. A write for which it returns a promise counts as missed until that is fulfilled. */
  #attempt(write: () => unknown, onWritten: () => void): void {
    try {
      const result = write();
      if (!isThenable(result)) return onWritten();
      Promise.resolve(result).then(onWritten, (err: unknown) => this.#log(err));
    } catch (err) {
      this.#log(err);
    }
  }

  /** The store must be synchronous. What a promise of it is rejected with is logged. */
  #isPromise(value: unknown): boolean {
    if (!isThenable(value)) return false;
    Promise.resolve(value).catch((err: unknown) => this.#log(err));
    return true;
  }

  #log(err: unknown): void {
    this.#logger.error({ err }, 'the store of threads failed');
  }
}

function isEntry(value: unknown): value is ThreadEntry {
  const { agentId, chatId } = Object(value) as { agentId?: unknown; chatId?: unknown };
  return typeof agentId === 'string' && typeof chatId === 'string' && chatId !== '';
}
