import type { ThreadInfo } from './options.js';

/** The thread of a message or an `end`, and the number of its frame, if it is known. */
type NumberedThread = ThreadInfo & { readonly number?: number | undefined };

/** Bounds what is remembered of threads that are gone. */
const MAX_FORGOTTEN = 1_000;

/** The threads that are open, and those that were lost with a session. */
export class OpenThreads {
  /** Each with the number of the latest message that was answered in it. */
  readonly #open = new Map<string, readonly [thread: ThreadInfo, number: number | undefined]>();
  /** The agents have forgotten these: the next turn of each is a restart. */
  readonly #lost = new Set<string>();

  get list(): ThreadInfo[] {
    return [...this.#open.values()].map(([thread]) => thread);
  }

  add(message: NumberedThread): void {
    const { agentId, contextId, number } = message;
    this.#open.set(keyOf(message), [{ agentId, contextId }, number]);
  }

  /** An `end` was confirmed. A message after it may have been answered before, and has begun the thread again. */
  remove(end: NumberedThread): void {
    if (!((this.#open.get(keyOf(end))?.[1] as number) > (end.number as number))) this.#open.delete(keyOf(end));
  }

  /** All are gone with their session. True if there were any. */
  lose(): boolean {
    if (this.#lost.size > MAX_FORGOTTEN) this.#lost.clear();
    const keys = [...this.#open.keys()];
    for (const key of keys) this.#lost.add(key);
    this.#open.clear();
    return keys.length > 0;
  }

  /** Whether a thread was lost and starts again. True once. */
  takeLost(thread: ThreadInfo): boolean {
    return this.#lost.delete(keyOf(thread));
  }
}

function keyOf({ agentId, contextId }: ThreadInfo): string {
  return JSON.stringify([agentId, contextId]);
}
