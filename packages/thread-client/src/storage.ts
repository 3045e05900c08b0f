import type { StorageLike } from './options.js';
import type { Entry } from './outbox.js';
import { MAX_KEPT } from './piece-buffer.js';
import type { RequestFields } from './turn.js';

/** A frame that is still in the outbox, or the one of a pending turn, without its text. */
type SavedEntry = [key: number, number: number | null];

export interface SavedRequest extends RequestFields {
  readonly entry: SavedEntry | null;
  /** The `end` frame, to be repeated. Absent for turns. */
  readonly frame?: string;
}

export interface SavedThread {
  readonly agentId: string | undefined;
  readonly contextId: string | undefined;
  readonly chatId: string | undefined;
}

/** What of a session outlives the page. */
export interface SavedSession {
  readonly session: string | undefined;
  readonly seq: number;
  readonly sent: number;
  /** How many ids were given. */
  readonly ids: number;
  readonly outbox: readonly SavedEntry[];
  readonly requests: readonly SavedRequest[];
  readonly threads: readonly SavedThread[];
}

export interface Restored extends SavedSession {
  readonly entries: readonly Entry[];
  /** The frames with the pieces of each pending turn, or undefined where they were too many to keep. */
  readonly frames: ReadonlyMap<string, readonly string[] | undefined>;
}

interface Chunks {
  /** Keys that are written. */
  count: number;
  size: number;
  /** Frames that are not written yet. */
  waiting: string[];
}

interface Head extends SavedSession {
  readonly version: 1;
  /** Names the tab: see `tabLock`. */
  readonly tab: string;
  /** Keys of pieces by turn; -1 for a turn whose pieces are not kept. */
  readonly chunks: Readonly<Record<string, number>>;
}

const PREFIX = 'arc-threads';

/**
 * Writes a session to a storage, so that a reloaded page continues it. The head is small and written often; frames of
 * the outbox and pieces of answers have keys of their own, which are written once.
 */
export class SessionStore {
  /** Names this tab. A duplicated tab finds the same name, and must not use it. */
  tab = '';
  readonly #storage: StorageLike;
  readonly #onFailure: (error: unknown) => void;
  readonly #entries = new Map<number, string>();
  readonly #chunks = new Map<string, Chunks>();
  #failed = false;

  constructor(storage: StorageLike, onFailure: (error: unknown) => void) {
    this.#storage = storage;
    this.#onFailure = onFailure;
  }

  load(): Restored | undefined {
    try {
      const text = this.#storage.getItem(PREFIX);
      const head = text === null ? undefined : (JSON.parse(text) as Head);
      if (head?.version === 1) return this.#restore(head);
    } catch (error) {
      this.#fail(error);
    }
    this.tab = newTab();
    return undefined;
  }

  /** Forgets what is stored: it belongs to another tab, or to a session that is closed. */
  clear(): void {
    try {
      for (const key of this.#entries.keys()) this.#storage.removeItem(`${PREFIX}:f${key}`);
      for (const id of this.#chunks.keys()) this.#removeChunks(id);
      this.#storage.removeItem(PREFIX);
    } catch (error) {
      this.#fail(error);
    }
    this.#entries.clear();
    this.#chunks.clear();
    this.tab = newTab();
  }

  /** Keeps a frame with a piece of a turn. It is written by the next `save`. */
  append(turnId: string, frame: string): void {
    let chunks = this.#chunks.get(turnId);
    if (chunks === undefined) {
      chunks = { count: 0, size: 0, waiting: [] };
      this.#chunks.set(turnId, chunks);
    }
    if (chunks.count < 0) return;
    chunks.size += frame.length;
    chunks.waiting.push(frame);
    if (chunks.size > MAX_KEPT) {
      this.#removeChunks(turnId);
      chunks.waiting = [];
      chunks.count = -1;
    }
  }

  /** Writes everything. What is not in `session` or `entries` any more is removed. */
  save(session: SavedSession, entries: readonly Entry[]): void {
    if (this.#failed) return;
    try {
      this.#saveEntries(entries);
      this.#saveChunks(new Set(session.requests.map(({ id }) => id)));
      const chunks = Object.fromEntries(Array.from(this.#chunks, ([id, { count }]) => [id, count]));
      const head: Head = { version: 1, tab: this.tab, ...session, chunks };
      this.#storage.setItem(PREFIX, JSON.stringify(head));
    } catch (error) {
      this.#fail(error);
    }
  }

  #saveEntries(entries: readonly Entry[]): void {
    const kept = new Set(entries.map(({ key }) => key));
    for (const key of this.#entries.keys()) {
      if (kept.has(key)) continue;
      this.#storage.removeItem(`${PREFIX}:f${key}`);
      this.#entries.delete(key);
    }
    for (const { key, text } of entries) {
      if (this.#entries.has(key)) continue;
      this.#entries.set(key, text);
      this.#storage.setItem(`${PREFIX}:f${key}`, text);
    }
  }

  #saveChunks(pending: ReadonlySet<string>): void {
    for (const [id, chunks] of this.#chunks) {
      if (!pending.has(id)) {
        this.#removeChunks(id);
        this.#chunks.delete(id);
      } else if (chunks.waiting.length > 0) {
        // JSON text has no line breaks of its own.
        this.#storage.setItem(`${PREFIX}:${id}:${chunks.count}`, chunks.waiting.join('\n'));
        chunks.count += 1;
        chunks.waiting = [];
      }
    }
  }

  #removeChunks(id: string): void {
    const { count = 0 } = this.#chunks.get(id) ?? {};
    for (let index = 0; index < count; index++) this.#storage.removeItem(`${PREFIX}:${id}:${index}`);
  }

  #restore(head: Head): Restored {
    this.tab = head.tab;
    const entries = head.outbox.map(([key, number]): Entry => {
      const text = this.#storage.getItem(`${PREFIX}:f${key}`);
      if (text === null) throw new Error('A stored frame is missing');
      this.#entries.set(key, text);
      return { key, number: number ?? undefined, text };
    });
    const frames = new Map<string, string[] | undefined>(head.requests.map(({ id }) => [id, []]));
    for (const [id, count] of Object.entries(head.chunks)) {
      const texts = Array.from({ length: Math.max(0, count) }, (_, index) =>
        (this.#storage.getItem(`${PREFIX}:${id}:${index}`) ?? '').split('\n'),
      ).flat();
      this.#chunks.set(id, { count, size: texts.reduce((sum, text) => sum + text.length, 0), waiting: [] });
      frames.set(id, count < 0 ? undefined : texts);
    }
    return { ...head, entries, frames };
  }

  /** Without room a session that is only partly stored would be continued wrongly: nothing is kept from now on. */
  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.clear();
    this.#onFailure(error);
  }
}

function newTab(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
