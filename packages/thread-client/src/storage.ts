import type { StorageLike, ThreadInfo } from './options.js';
import type { Entry } from './outbox.js';
import { MAX_KEPT } from './piece-buffer.js';
import { randomName } from './random-name.js';
import type { RequestFields } from './turn.js';

/** What is stored of a channel, for the page after a reload. */
export interface SavedChannel {
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
  readonly version: 2;
  /** Names the tab: see `tabLock`. */
  readonly tab: string;
  /** How many chunks there are of each turn, by its id; 0 for a turn whose pieces were too many. */
  readonly chunks: Readonly<Record<string, number>>;
}

interface Chunks {
  count: number;
  size: number;
  /** Frames that are not written yet. */
  waiting: string[];
}

const KEY = 'arc-threads';

/**
 * Writes a session to a storage, so that a reloaded page continues it. The head is small and is written often; the
 * pieces of answers have keys of their own, which are written once.
 */
export class SessionStore {
  /** Names this tab. A duplicated tab finds the same name, and has to take another one. */
  tab = randomName();
  readonly #storage: StorageLike;
  readonly #onFailure: (error: unknown) => void;
  readonly #chunks = new Map<string, Chunks>();
  #failed = false;

  constructor(storage: StorageLike, onFailure: (error: unknown) => void) {
    this.#storage = storage;
    this.#onFailure = onFailure;
  }

  load(): SavedSession | undefined {
    try {
      const head = JSON.parse(this.#storage.getItem(KEY) ?? 'null') as Head | null;
      if (head?.version !== 2) return undefined;
      this.tab = head.tab;
      for (const [id, count] of Object.entries(head.chunks)) {
        // Over the limit, so that nothing is added to a turn whose pieces were too many.
        this.#chunks.set(id, { count, size: count === 0 ? MAX_KEPT : 0, waiting: [] });
      }
      return head;
    } catch (error) {
      this.#fail(error);
    }
    return undefined;
  }

  /** The frames with the pieces of a pending turn, or undefined if they were too many to keep. */
  read(turnId: string): string[] | undefined {
    const chunks = this.#chunks.get(turnId);
    if (chunks === undefined) return [];
    const frames: string[] = [];
    for (let index = 0; index < chunks.count; index++) {
      const text = this.#storage.getItem(`${KEY}:${turnId}:${index}`) ?? '';
      chunks.size += text.length;
      frames.push(...text.split('\n'));
    }
    return chunks.count === 0 ? undefined : frames;
  }

  /** Keeps a frame with a piece of a turn. It is written by the next `save`. */
  append(turnId: string, frame: string): void {
    const chunks = this.#chunks.get(turnId) ?? { count: 0, size: 0, waiting: [] };
    this.#chunks.set(turnId, chunks);
    chunks.size += frame.length;
    if (chunks.size <= MAX_KEPT) chunks.waiting.push(frame);
    else this.#drop(turnId, chunks);
  }

  /** Writes everything. Pieces of turns that are no longer pending are removed. */
  save(session: SavedSession): void {
    if (this.#failed) return;
    try {
      const pending = session.requests.map(({ id }) => id);
      for (const [id, chunks] of this.#chunks) {
        if (!pending.includes(id)) {
          this.#drop(id, chunks);
          this.#chunks.delete(id);
        } else if (chunks.waiting.length > 0) {
          // JSON text has no line breaks of its own.
          this.#storage.setItem(`${KEY}:${id}:${chunks.count++}`, chunks.waiting.join('\n'));
          chunks.waiting = [];
        }
      }
      const chunks = Object.fromEntries(Array.from(this.#chunks, ([id, { count }]) => [id, count]));
      const head: Head = { version: 2, tab: this.tab, ...session, chunks };
      this.#storage.setItem(KEY, JSON.stringify(head));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Forgets what is stored: it belongs to another tab, or to a session that is closed. The tab keeps its name, and its lock. */
  clear(): void {
    try {
      for (const [id, chunks] of this.#chunks) this.#drop(id, chunks);
      this.#storage.removeItem(KEY);
    } catch (error) {
      this.#fail(error);
    }
    this.#chunks.clear();
  }

  #drop(id: string, chunks: Chunks): void {
    while (chunks.count > 0) this.#storage.removeItem(`${KEY}:${id}:${--chunks.count}`);
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
