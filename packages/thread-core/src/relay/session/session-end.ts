import { CloseCode } from '@arc/thread-protocol';
import { type Deferred, defer } from '../../deferred.js';
import type { Logger } from '../../logger.js';
import type { ChatOutcome } from '../../threads/ending.js';
import type { ThreadManager } from '../../threads/thread-manager.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import type { RelayConfig } from '../options.js';
import type { PendingSends } from '../sends/pending-sends.js';

/** What the end of a session needs of it. */
export interface EndingSession {
  readonly sends: PendingSends;
  readonly existingThreads: ThreadManager | undefined;
  /** Removes the messages that are held, and returns what their answers repeat. */
  takeHeldMessages(): FrameEcho[];
  /** A promise if another node may have the session by now: it is awaited before the chats are ended. */
  confirmOwnership(): Promise<void> | undefined;
  /** The session begins to end. */
  onLeave(): void;
  /** The connection is closed and the chats are ended. */
  onEnded(outcomes: ChatOutcome[]): void;
}

/** Ends a session, its pending sends and its chats: once, however often that is requested. */
export class SessionEnd {
  /** The end has begun: no new send is started. */
  hasStarted = false;
  /** Exists while the client has left and pending sends may end all the same. */
  finishing: Promise<void> | undefined;
  #isComplete = false;
  readonly #session: EndingSession;
  readonly #config: Pick<RelayConfig, 'onDisconnect'>;
  readonly #closed: Deferred<ChatOutcome[]> = defer();
  /** Set once the chats are being ended. */
  #outcomes: Promise<ChatOutcome[]> | undefined;

  constructor(session: EndingSession, config: Pick<RelayConfig, 'onDisconnect'>) {
    this.#session = session;
    this.#config = config;
  }

  /** Its chats are being ended, or are ended. */
  get hasEndedChats(): boolean {
    return this.#outcomes !== undefined;
  }

  /** Resolves when the session has no connection and no chats any more. */
  get closed(): Promise<ChatOutcome[]> {
    return this.#closed.promise;
  }

  /** The client has left. What becomes of its pending sends is up to `onDisconnect`. */
  async finish(): Promise<ChatOutcome[]> {
    this.begin();
    const finished = this.finishSends();
    if (finished !== undefined) await finished;
    this.finishing = undefined;
    return this.endChats();
  }

  /** Starts nothing new. A promise if `onDisconnect` lets pending sends end first. */
  finishSends(): Promise<void> | undefined {
    const pending = this.drainSends();
    if (this.#config.onDisconnect !== 'finish' || this.#outcomes !== undefined) return undefined;
    // The answers have no reader, so backpressure must not stop them.
    this.#session.sends.unpause();
    if (this.#session.sends.size > 0) this.finishing = pending;
    return pending;
  }

  /** As `finish`, when the connection is closed: all that is left is to end the chats. */
  async complete(): Promise<void> {
    if (this.#isComplete) return;
    this.#isComplete = true;
    const outcomes = await this.finish();
    this.#session.onEnded(outcomes);
    this.#closed.resolve(outcomes);
  }

  /** Cancels pending sends and ends the chats. */
  endChats(): Promise<ChatOutcome[]> {
    this.begin();
    if (this.#outcomes === undefined) {
      void this.drainSends();
      // First, because the hooks that hear of the cancelled sends may send something, or close the session.
      const outcomes = defer<ChatOutcome[]>();
      this.#outcomes = outcomes.promise;
      const end = async (): Promise<ChatOutcome[]> =>
        this.#session.existingThreads?.endAllChats({ reason: 'disconnected' }) ?? [];
      const confirmed = this.#session.confirmOwnership();
      outcomes.resolve(confirmed === undefined ? end() : confirmed.then(end));
    }
    return this.#outcomes;
  }

  /** Answers the messages that are held with `cancelled`. Resolves when no send is pending. */
  async drainSends(): Promise<void> {
    const { sends } = this.#session;
    for (const echo of this.#session.takeHeldMessages()) sends.answerCancelled(echo);
    await sends.drain();
  }

  /** Begins the end: nothing new is accepted, and the session cannot be resumed. */
  begin(): void {
    if (this.hasStarted) return;
    this.hasStarted = true;
    this.#session.onLeave();
  }
}

export interface FailingSession {
  readonly id: string;
  close(code: number, reason: string): void;
  terminate(): void;
}

/** Closes a session after an unexpected failure. */
export function closeAfterFailure(session: FailingSession, err: unknown, logger: Logger): void {
  logger.error({ session: session.id, err }, 'a session failed');
  try {
    session.close(CloseCode.InternalError, 'The relay failed');
  } catch {
    session.terminate();
  }
}
