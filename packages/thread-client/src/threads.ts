import type { ThreadInfo } from './options.js';

/** Bounds what is remembered of threads that are gone. */
const MAX_FORGOTTEN = 1_000;

/** The threads that are open, and those that were lost with a session. */
export class OpenThreads {
  readonly #open = new Map<string, ThreadInfo>();
  /** The agents have forgotten these: the next turn of each is a restart. */
  readonly #lost = new Set<string>();

  get list(): ThreadInfo[] {
    return [...this.#open.values()];
  }

  add({ agentId, contextId }: ThreadInfo): void {
    const thread = { agentId, contextId };
    this.#open.set(keyOf(thread), thread);
  }

  remove(thread: ThreadInfo): void {
    this.#open.delete(keyOf(thread));
  }

  /** All are gone with their session. True if there were any. */
  lose(): boolean {
    const { size } = this.#open;
    if (this.#lost.size > MAX_FORGOTTEN) this.#lost.clear();
    for (const key of this.#open.keys()) this.#lost.add(key);
    this.#open.clear();
    return size > 0;
  }

  /** Whether a thread was lost and starts again. True once. */
  takeLost(thread: ThreadInfo): boolean {
    return this.#lost.delete(keyOf(thread));
  }
}

function keyOf({ agentId, contextId }: ThreadInfo): string {
  return JSON.stringify([agentId, contextId]);
}
