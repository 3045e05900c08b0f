import type { ChatOutcome } from './ending.js';
import type { ThreadEntry } from './store.js';

/**
 * Keeps a record of threads elsewhere, so that another process can continue or end their chats. Each method gets a copy
 * of the entry. What it throws is logged and changes nothing, except in `beforeStart` and `beforeWaiting`. @internal
 */
export interface ThreadObserver {
  /**
   * Called before a byte of a chat.start is written. A promise delays it; undefined lets it be sent in the same turn. If
   * the promise rejects, the send fails with that error, and no thread is left.
   */
  beforeStart?(entry: ThreadEntry): Promise<void> | undefined;
  /**
   * Called before a message is sent that has waited for other sends of its thread. A promise delays it; if it rejects, the
   * send fails with that error.
   */
  beforeWaiting?(): Promise<void> | undefined;
  /** Asked right before the first byte of a chat.start or chat.message is written, which may wait for a connection. */
  mayWrite?(): boolean;
  /**
   * Called before a chat is ended that is no thread's: its chat.start failed or was cancelled, say. A promise delays it, and must
   * not reject; the threads may be disowned until it is fulfilled.
   */
  beforeEnd?(): Promise<void> | undefined;
  /** A thread was taken over whose chat was started elsewhere. */
  onAdopted?(entry: ThreadEntry): void;
  /** The agent gave the chat another id than `previous`, or another field of the entry changed. */
  onChange?(entry: ThreadEntry, previous: string): void;
  /**
   * The thread is gone, and so is its chat: it was ended, lost, or could not be ended (`outcome`), or there never was
   * one.
   */
  onRemoved?(entry: ThreadEntry, outcome: ChatOutcome | undefined): void;
}
