import type { ArcPart } from '@arc/thread-protocol';
import type { ShownError } from './parts.js';

/** One message and its answer, as they are kept over a reload. */
export interface ExchangeRecord {
  /** The turn's id: a pending turn is found again by it. */
  id: string;
  text: string;
  parts: ArcPart[];
  events: [name: string, data: unknown][];
  /** How it ended; absent while it is pending. */
  end?: 'done' | 'stopped' | 'failed';
  /** Why it failed, under which title. */
  error?: ShownError;
  title?: string;
}

export type Entry = ExchangeRecord | { notice: string; beforeId?: string } | { error: ShownError };

export interface SavedThread {
  entries: Entry[];
  chatId?: string | undefined;
  traceId?: string | undefined;
}

/** The oldest entries go first. */
const MAX_ENTRIES = 100;

/** Keeps a conversation in `sessionStorage`: it is shown again after a reload of the tab, and only there. */
export class Journal {
  readonly #key: string;

  constructor(agentId: string) {
    this.#key = `page:${agentId}`;
  }

  load(): SavedThread {
    try {
      const saved = JSON.parse(sessionStorage.getItem(this.#key) ?? 'null') as SavedThread | null;
      return Array.isArray(saved?.entries) ? saved : { entries: [] };
    } catch {
      return { entries: [] };
    }
  }

  save({ entries, ...rest }: SavedThread): void {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify({ ...rest, entries: entries.slice(-MAX_ENTRIES) }));
    } catch {
      // Without room the transcript is lost with a reload, and nothing else is.
      sessionStorage.removeItem(this.#key);
    }
  }
}
