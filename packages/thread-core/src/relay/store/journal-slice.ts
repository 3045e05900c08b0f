import type { JournalSlice } from './session-store.js';

/** The number of the last frame of a slice; of an empty one, the number before its first. */
export function lastSeqOf({ firstSeq, frames }: JournalSlice): number {
  return firstSeq + frames.length - 1;
}
