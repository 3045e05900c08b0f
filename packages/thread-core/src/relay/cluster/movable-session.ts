import { decode } from '../../bytes.js';
import type { ResumingSession } from '../resume/resuming-session.js';
import type { Resumption } from '../resume/resumption.js';
import type { PendingSends } from '../sends/pending-sends.js';
import type { SessionState } from '../store/session-store.js';
import type { SessionRecord } from './session-record.js';

/** What moving needs of a session. */
export interface MovableSession extends ResumingSession {
  readonly existingSends: PendingSends | undefined;
  /** Nothing runs or waits, no chat is being ended, and no frame is held. */
  readonly isAtRest: boolean;
  whenAtRest(): Promise<void>;
  /** Removes the frames that are held, and returns their texts. */
  takeHeldTexts(): string[];
  /** Holds frames again that were taken so, until its client connects. */
  holdTexts(texts: string[]): void;
  /** Another node continues the session: nothing is ended here. */
  onLost(): void;
}

/** The state of a session that another node needs to continue it. */
export function stateOf(
  { journal, got }: Resumption,
  { threads }: SessionRecord,
  waiting: string[],
  pending: (string | number)[],
): SessionState {
  const frames = journal.frames().map(decode);
  return {
    seq: journal.lastSeq,
    got,
    pending,
    threads,
    waiting,
    journal: { firstSeq: journal.acknowledged + 1, frames },
  };
}
