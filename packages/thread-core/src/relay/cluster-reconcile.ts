import type { SessionStore, StoreNode } from './session-store.js';

/** What a node keeps in the store. */
export interface ClusterMember {
  readonly sid: string;
  /** How the store counts it: it does, does not, or may do so while a write is under way. */
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
 * Brings the store and a node together: writes what was not written or, where the two differ, registers all members
 * again and ends what only the store knows. Resolves to whether everything is written.
 */
export async function reconcile(
  store: SessionStore,
  node: StoreNode,
  members: readonly ClusterMember[],
  boot: string,
  isFull: boolean,
  onStray: (sid: string) => Promise<void>,
): Promise<boolean> {
  let isWritten = true;
  await inParallel(members, async (member) => {
    if (isFull) await member.registerAgain(boot);
    if (!(await member.flush())) isWritten = false;
  });
  if (isFull) {
    const known = new Set(members.map(({ sid }) => sid));
    const strays = (await store.sessionsOn(node)).filter((sid) => !known.has(sid));
    await inParallel(strays, onStray);
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
