import type { ThreadEntry } from './store.js';

/** The queue of its thread, as a send sees it. */
export interface SendQueue<Member> {
  /** The thread is known from now on; others need not wait for it. */
  onStarted(send: Member): void;
  /** The send runs and waits no longer. */
  remove(send: Member): void;
  /** Runs whatever may run now. */
  runNext(): void;
  /** Sends again, in a new chat, what was sent to a lost one. */
  restart(send: Member): void;
  /** The agent gave the chat another id than the thread has. */
  warnOfChatId(entry: ThreadEntry, named: string, message: string): void;
}
