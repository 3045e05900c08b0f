import type { SessionStore, StoreNode } from '../store/session-store.js';

/** What a node keeps in the store. */
export interface ReconciledSession {
  readonly sid: string;
  /** Whether the store has it. `maybe`: a write is under way. */
  readonly registration: 'yes' | 'no' | 'maybe';
  /** Registers it again after data or the lease was lost. */
  registerAgain(boot: string): Promise<void>;
  /** Writes what could not be written. Resolves to whether nothing is left. */
  flush(): Promise<boolean>;
  /** Another node owns it. */
  lost(): void;
}

/** How many sessions are registered again at a time. */
const CONCURRENCY = 32;

/**
 * Repairs differences between the store and a node: writes what was not written or, if the two differ (`isFull`),
 * registers all members again and ends sessions that only the store has. Resolves to whether everything is written.
 */
export async function reconcile(
  store: SessionStore,
  node: StoreNode,
  members: readonly ReconciledSession[],
  boot: string,
  isFull: boolean,
  onUnknown: (sid: string) => Promise<void>,
): Promise<boolean> {
  let isWritten = true;
  await inParallel(members, async (member) => {
    if (isFull) await member.registerAgain(boot);
    if (!(await member.flush())) isWritten = false;
  });
  if (isFull) {
    const known = new Set(members.map(({ sid }) => sid));
    const unknown = (await store.sessionsOn(node)).filter((sid) => !known.has(sid));
    await inParallel(unknown, onUnknown);
  }
  return isWritten;
}

async function inParallel<T>(items: readonly T[], handle: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const work = async (): Promise<void> => {
    for (const item of queue) await handle(item);
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, work));
}
