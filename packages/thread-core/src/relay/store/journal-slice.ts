import type { JournalSlice, SessionStore } from './session-store.js';

/** The number of the last frame of a slice; of an empty one, the number before its first. */
export function lastSeqOf({ firstSeq, frames }: JournalSlice): number {
  return firstSeq + frames.length - 1;
}

/** All frames of a session's journal in a store. */
export async function readJournal(store: SessionStore, sid: string): Promise<JournalSlice | undefined> {
  const journal = await store.read(sid, 0);
  if (journal === undefined) return undefined;
  for (;;) {
    const next = await store.read(sid, lastSeqOf(journal));
    if (next === undefined || next.frames.length === 0) return journal;
    journal.frames.push(...next.frames);
  }
}
