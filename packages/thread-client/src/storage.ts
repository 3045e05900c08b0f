import type { StorageLike, ThreadInfo } from './options.js';
import type { Entry } from './outbox.js';
import { MAX_KEPT } from './piece-buffer.js';
import { PREFIX, randomName } from './random-name.js';
import type { RequestFields } from './turn.js';

/** What is stored of a channel, for the page after a reload. */
export interface SavedChannel {
  /** Where the session is: see `placeOf`. */
  readonly place: string | undefined;
  readonly session: string | undefined;
  readonly seq: number;
  readonly sent: number;
  readonly entries: Entry[];
}

/** What is stored of a session, for the page after a reload. */
export interface SavedSession extends SavedChannel {
  readonly requests: readonly (RequestFields & { readonly number: number | undefined })[];
  readonly threads: readonly ThreadInfo[];
}

interface Head extends SavedSession {
  /** Names the tab: see `tabLock`. */
  readonly tab: string;
  /** How many chunks there are of each turn, with its id; 0 for a turn whose pieces were too many. */
  readonly chunks: ReadonlyArray<readonly [id: string, count: number]>;
}

interface Chunks {
  count: number;
  size: number;
  /** Frames that are not written yet. */
  waiting: string[];
}

/** Those of the clients of this page. */
const stores = new Set<SessionStore>();

/**
 * Writes a session to a storage, so that a reloaded page continues it. The head is small and is written often; the
 * pieces of answers have keys of their own, which are written once.
 */
export class SessionStore {
  /** Names this tab. A duplicated tab finds the same name, and has to take another one. */
  tab = randomName();
  readonly #storage: StorageLike;
  readonly #key: string;
  readonly #onFailure: (error: unknown) => void;
  readonly #chunks = new Map<string, Chunks>();
  #failed = false;

  /**
   * `place`: that of the relay, whose sessions are no other relay's business; empty if it is not known yet. Several clients
   * of it find what is theirs by the order in which the page creates them.
   */
  constructor(storage: StorageLike, place: string, onFailure: (error: unknown) => void) {
    this.#storage = storage;
    this.#onFailure = onFailure;
    this.#key = PREFIX + place;
    // No place has this character.
    while ([...stores].some((other) => other.#storage === storage && other.#key === this.#key)) this.#key += '#';
    stores.add(this);
  }

  /** The client is closed: another one may have the key. */
  release(): void {
    stores.delete(this);
  }

  /** Gives what is stored to `restore`. If that cannot read it, it is as good as nothing. */
  load(restore: (saved: SavedSession) => void): void {
    try {
      const head = JSON.parse(this.#storage.getItem(this.#key) ?? 'null') as Head | null;
      if (!head) return;
      this.tab = head.tab;
      for (const [id, count] of head.chunks) {
        // Over the limit, so that nothing is added to a turn whose pieces were too many.
        this.#chunks.set(id, { count, size: count ? 0 : MAX_KEPT, waiting: [] });
      }
      restore(head);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The frames with the pieces of a pending turn, or undefined if they were too many to keep, or some are gone. */
  read(turnId: string): string[] | undefined {
    const chunks = this.#chunks.get(turnId);
    if (!chunks) return [];
    const frames: string[] = [];
    for (let index = 0; index < chunks.count; index++) {
      const text = this.#storage.getItem(`${this.#key}:${turnId}:${index}`);
      if (text === null) return undefined;
      chunks.size += text.length;
      frames.push(...text.split('\f'));
    }
    return chunks.count ? frames : undefined;
  }

  /** Keeps a frame with a piece of a turn. It is written by the next `save`. */
  append(turnId: string, frame: string): void {
    // Nothing would ever take it out again.
    if (this.#failed) return;
    const chunks = this.#chunks.get(turnId) ?? { count: 0, size: 0, waiting: [] };
    this.#chunks.set(turnId, chunks);
    chunks.size += frame.length;
    if (chunks.size <= MAX_KEPT) chunks.waiting.push(frame);
  }

  /** Writes everything. Pieces of turns that are no longer pending are removed. */
  save(session: SavedSession): void {
    if (this.#failed) return;
    try {
      for (const [id, chunks] of this.#chunks) {
        // Not where they become too many: there a storage may not throw.
        if (chunks.size > MAX_KEPT) this.#drop(id, chunks);
        if (!session.requests.some((request) => request.id === id)) {
          this.#drop(id, chunks);
          this.#chunks.delete(id);
        } else if (chunks.waiting.length) {
          // No JSON has form feeds. It may have line breaks: the agent's own are in its frames.
          this.#storage.setItem(`${this.#key}:${id}:${chunks.count++}`, chunks.waiting.join('\f'));
          chunks.waiting = [];
        }
      }
      this.#storage.setItem(
        this.#key,
        JSON.stringify({
          tab: this.tab,
          ...session,
          chunks: [...this.#chunks].map(([id, { count }]) => [id, count] as const),
        } satisfies Head),
      );
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Forgets what is stored: it belongs to another tab, or to a session that is closed. The tab keeps its name, and its lock. */
  clear(): void {
    try {
      for (const [id, chunks] of this.#chunks) this.#drop(id, chunks);
      this.#storage.removeItem(this.#key);
    } catch (error) {
      this.#fail(error);
    }
    this.#chunks.clear();
  }

  #drop(id: string, chunks: Chunks): void {
    while (chunks.count > 0) this.#storage.removeItem(`${this.#key}:${id}:${--chunks.count}`);
    chunks.waiting = [];
  }

  /** A session that is only partly stored would be continued wrongly: nothing is kept from now on. */
  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.clear();
    this.#onFailure(error);
  }
}
