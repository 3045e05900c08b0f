import type { ThreadEntry } from '../../threads/store.js';
import { markFormer } from './claimed-session.js';

/** What the store should have of a session's threads, by the chat id that each began with: the agent may change it later. */
export class StoredThreads {
  readonly #entries = new Map<string, ThreadEntry>();
  /** The keys of threads whose chat id the agent has changed. */
  readonly #renamed = new Map<string, string>();

  constructor(entries: Readonly<Record<string, ThreadEntry>> = {}) {
    for (const [key, entry] of Object.entries(entries)) {
      this.#entries.set(key, entry);
      if (entry.chatId !== key) this.#renamed.set(entry.chatId, key);
    }
  }

  get(key: string): ThreadEntry | undefined {
    return this.#entries.get(key);
  }

  toRecord(): Record<string, ThreadEntry> {
    return Object.fromEntries(this.#entries);
  }

  add(entry: ThreadEntry): void {
    this.#entries.set(entry.chatId, entry);
  }

  /** Adds a thread that is about to start. Returns the keys of its former chats, which have changed. */
  start(entry: ThreadEntry): string[] {
    const former = markFormer(this.#entries, entry);
    this.add(entry);
    return former;
  }

  /** Takes a change of a thread: its chat id, or whether it is settled. Returns the keys of what has changed. */
  change(entry: ThreadEntry, previous: string): string[] {
    const key = this.#renamed.get(previous) ?? previous;
    const known = this.#entries.get(key);
    if (known === undefined) return [];
    const changed = [key];
    if (entry.chatId !== previous && previous !== key) {
      // The second other id: the chat under the first one is ended, too.
      this.#renamed.delete(previous);
      this.#entries.set(previous, { ...known, ending: true });
      changed.unshift(previous);
    }
    if (entry.chatId !== key) this.#renamed.set(entry.chatId, key);
    this.#entries.set(key, known.ending ? { ...entry, ending: true } : entry);
    return changed;
  }

  /** Removes a thread. Returns its key, or undefined if another chat has it. */
  remove({ chatId }: ThreadEntry): string | undefined {
    const key = this.#renamed.get(chatId) ?? chatId;
    if (this.#entries.get(key)?.chatId !== chatId) return undefined;
    this.#renamed.delete(chatId);
    this.#entries.delete(key);
    return key;
  }
}
