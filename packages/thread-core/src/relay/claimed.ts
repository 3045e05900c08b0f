import { encode } from '../bytes.js';
import type { ThreadEntry } from '../threads/store.js';
import type { FormerResumption } from './resumption.js';
import type { ClaimedSession } from './session-moves.js';
import type { StoredSession } from './session-store.js';

/**
 * How far a claimed session had come. Where its owner died, the numbers continue from the larger of what the client has
 * seen and what the store has, and what the client has sent counts as taken.
 */
export function readFormer({ session, journal, request }: ClaimedSession): FormerResumption {
  const { seq, got, exact } = session;
  const { secretHash, seq: seen, sent } = request;
  const end = endOf(journal);
  const last = exact ? seq : Math.max(seq, seen);
  const isUsed = journal !== undefined && end === last;
  return {
    secretHash,
    got: exact ? got : sent,
    acknowledged: isUsed ? journal.firstSeq - 1 : last,
    frames: isUsed ? journal.frames.map(encode) : [],
    stored: end,
  };
}

/** The threads of a claimed session. Where its owner died, nobody knows whether their first answers had ended. */
export function readThreads({ threads, exact }: StoredSession): Record<string, ThreadEntry> {
  if (exact) return threads;
  const unsettled = Object.entries(threads).map(([key, entry]) => [key, { ...entry, unsettled: !entry.stateless }]);
  return Object.fromEntries(unsettled);
}

/** The number of the last frame; 0 if there is none. */
function endOf(journal: ClaimedSession['journal']): number {
  return journal === undefined ? 0 : journal.firstSeq + journal.frames.length - 1;
}
