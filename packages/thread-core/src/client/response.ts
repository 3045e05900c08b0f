import type { ArcEnvelope, ChatResult } from '@arc/thread-protocol';
import type { ArcErrorOptions } from '../protocol/errors.js';
import type { ArcEvent } from './event.js';

/** An answer: the agent's envelope. `restarted`, not enumerable, is true if a lost chat was restarted for it. */
export type ArcResponse<Result = ChatResult> = ArcEnvelope<Result> & {
  readonly restarted: boolean;
  /** The events of an answer that the agent streamed without being asked to; not enumerable. */
  readonly events?: readonly ArcEvent[];
};

/** What is being answered: a call, or a send that may take several calls. */
export interface Answerable {
  readonly restarted?: boolean;
  readonly chatId?: string | undefined;
  /** What an error in the answer is about. */
  facts?(): ArcErrorOptions;
  cancel(): void;
  pause(): void;
  resume(): void;
}
