import { encode } from '../../bytes.js';
import type { ThreadEntry } from '../../threads/store.js';
import type { FormerResumption } from '../resume/resumption.js';
import { lastSeqOf } from '../store/journal-slice.js';
import type { StoredSession } from '../store/session-store.js';
import type { ClaimedSession } from './move-messages.js';

/**
 * The progress of a claimed session. If its owner died, numbering continues from what the client has seen or what the store
 * has, whichever is larger, and all that the client has sent counts as accepted.
 */
export function readFormer({ session, journal, request }: ClaimedSession): FormerResumption {
  const { seq, got, exact } = session;
  const { secretHash, seq: seen, sent } = request;
  const end = journal === undefined ? 0 : lastSeqOf(journal);
  const last = exact ? seq : Math.max(seq, seen);
  const isUsed = journal !== undefined && end === last;
  return {
    secretHash,
    got: exact ? got : sent,
    acknowledged: isUsed ? journal.firstSeq - 1 : last,
    frames: isUsed ? journal.frames.map(encode) : [],
    stored: end,
    isExact: exact,
  };
}

/** The threads of a claimed session. If its owner died, it is not known whether their first answers had ended. */
export function readThreads({ threads, exact }: StoredSession): Record<string, ThreadEntry> {
  if (exact) return threads;
  const unsettled = Object.entries(threads).map(([key, entry]) => [key, { ...entry, unsettled: !entry.stateless }]);
  return Object.fromEntries(unsettled);
}

/**
 * Marks the former chats of a thread, which are being ended, when the thread gets a new one: whoever claims the session must
 * know which of them continues. Returns the keys of those that it has marked.
 */
export function markFormer(threads: Map<string, ThreadEntry>, { agentId, contextId }: ThreadEntry): string[] {
  const isFormer = ([, entry]: [string, ThreadEntry]): boolean =>
    entry.agentId === agentId && entry.contextId === contextId && entry.ending !== true;
  const former = [...threads].filter(isFormer);
  for (const [key, entry] of former) threads.set(key, { ...entry, ending: true });
  return former.map(([key]) => key);
}
