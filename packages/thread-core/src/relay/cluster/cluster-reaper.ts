import type { Logger } from '../../logger.js';
import { FencedError, type ReapedSession, type StoredSession, StoreError } from '../store/session-store.js';
import { setBounded } from './bounded-map.js';
import type { ClusterNode } from './cluster-node.js';
import { logOrphan } from './former-session.js';

/** Sessions that are ended at a time. */
const CONCURRENCY = 32;

/** How often a node tries to end the chats of one session, if a function of the application throws. */
const MAX_TRIES = 10;

/** Sessions whose tries are counted. More of them than any node has: those beyond it would be tried for ever. */
const MAX_COUNTED = 100_000;

export interface ReaperOptions {
  node: ClusterNode;
  /** Milliseconds for the chats of one session. */
  cleanupTimeout: number;
  logger: Logger;
  /** Ends all chats of a session that cannot be resumed. Settles within `cleanupTimeout`. Rejects if it could not begin to. */
  endChats(session: StoredSession): Promise<void>;
}

/** Ends the chats of sessions whose node is dead and which were not resumed. */
export class Reaper {
  readonly #options: ReaperOptions;
  #running: Promise<void> | undefined;
  #isStopped = false;
  #pausedUntil = 0;
  /** Sessions whose chats are being ended: an agent may take its time for each. */
  readonly #ending = new Set<Promise<void>>();
  /** How often it was tried in vain to end the chats of a session. */
  readonly #tries = new Map<string, number>();
  /** Sessions whose chats this node has ended for others. */
  reaped = 0;

  constructor(options: ReaperOptions) {
    this.#options = options;
  }

  /** Begins to end no sessions for so many milliseconds: their nodes may still be alive, and come back to the store. */
  pause(duration: number): void {
    this.#pausedUntil = performance.now() + duration;
  }

  /** Begins to end such sessions, unless it does so already. Never rejects. */
  async run(): Promise<void> {
    if (this.isPaused) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  /** Begins no more sessions, and waits for those that are being ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
    await Promise.all(this.#ending);
  }

  /** Ends one session, if no other living node has it. Resolves when its chats are ended. */
  async reapOne(sid: string): Promise<void> {
    await (await this.#take(sid))?.ended;
  }

  /**
   * As `reapOne`, but does not wait for the chats. False if it has to be tried later: so many sessions are being ended. While
   * this node stops, what the store has of it is left to the others.
   */
  async beginOne(sid: string): Promise<boolean> {
    if (this.#isStopped || this.#ending.size >= CONCURRENCY) return false;
    await this.#take(sid).catch((error: unknown) => {
      // It is left to the nodes of that version, and keeps this one from nothing.
      if (!(error instanceof StoreError && error.code === 'version')) throw error;
    });
    return true;
  }

  async #take(sid: string): Promise<{ ended: Promise<void> } | undefined> {
    const { store, node } = this.#options.node;
    const reaped = await store.reapOne(node, sid, this.#takeoverAfter);
    return reaped && { ended: this.#begin(reaped) };
  }

  #begin(reaped: ReapedSession): Promise<void> {
    const ended = this.#end(reaped).finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
    return ended;
  }

  get isPaused(): boolean {
    return performance.now() < this.#pausedUntil;
  }

  get #takeoverAfter(): number {
    return this.#options.node.takeoverAfter(this.#options.cleanupTimeout);
  }

  async #run(): Promise<void> {
    const { store, node } = this.#options.node;
    try {
      let isMore = true;
      while (isMore && !this.#isStopped && !this.isPaused) {
        const limit = Math.max(0, CONCURRENCY - this.#ending.size);
        const reaped = limit > 0 ? await store.reap(node, { limit, takeoverAfter: this.#takeoverAfter }) : [];
        for (const session of reaped) void this.#begin(session);
        isMore = reaped.length === limit;
        if (isMore) await Promise.race(this.#ending);
      }
    } catch (err) {
      this.#options.logger.debug({ err, node: node.name }, 'the search for sessions of dead nodes failed');
    }
  }

  async #end({ owned, session }: ReapedSession): Promise<void> {
    const { node, logger } = this.#options;
    const about = { session: owned.sid, chats: Object.keys(session.threads).length };
    try {
      await this.#endChats(session);
      await node.store.close(owned);
      if (about.chats === 0) return;
      this.reaped += 1;
      logger.info(about, "the chats of a dead node's session were ended");
    } catch (err) {
      if (err instanceof FencedError) return;
      logger.warn({ ...about, err }, 'a session of a dead node could not be removed: it is ended again later');
    }
  }

  /** What fails again and again is given up: otherwise the session would stay in the store, and be tried, for ever. */
  async #endChats(session: StoredSession): Promise<void> {
    const { sid, threads } = session;
    try {
      await this.#options.endChats(session);
    } catch (err) {
      const tries = (this.#tries.get(sid) ?? 0) + 1;
      setBounded(this.#tries, sid, tries, MAX_COUNTED);
      if (tries < MAX_TRIES) throw err;
      for (const entry of Object.values(threads)) logOrphan(this.#options.logger, entry, err);
    }
    this.#tries.delete(sid);
  }
}
