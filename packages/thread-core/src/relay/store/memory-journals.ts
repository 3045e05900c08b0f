import { lastSeqOf } from './journal-slice.js';
import { type JournalSlice, StoreError } from './session-store.js';

interface Journal {
  entries: JournalSlice[];
  /** The number of the last frame that was ever added. */
  lastSeq: number;
}

/** The journals of a memory store. */
export class Journals {
  readonly #journals = new Map<string, Journal>();

  /** @returns the number of the last frame */
  append(sid: string, slice: JournalSlice): number {
    const { firstSeq, frames } = slice;
    const journal = this.#journals.get(sid) ?? { entries: [], lastSeq: 0 };
    this.#journals.set(sid, journal);
    const lastSeq = lastSeqOf(slice);
    if (lastSeq <= journal.lastSeq) return journal.lastSeq;
    if (journal.entries.length > 0 && firstSeq > journal.lastSeq + 1) {
      throw new StoreError('gap', `Frames ${journal.lastSeq + 1} to ${firstSeq - 1} of a journal are missing`);
    }
    const known = Math.max(0, journal.lastSeq + 1 - firstSeq);
    journal.entries.push({ firstSeq: firstSeq + known, frames: frames.slice(known) });
    journal.lastSeq = lastSeq;
    return lastSeq;
  }

  read(sid: string, afterSeq: number, limit: number): JournalSlice | undefined {
    const entries = this.#journals.get(sid)?.entries ?? [];
    const first = entries.findIndex((entry) => lastSeqOf(entry) > afterSeq);
    if (first === -1) return undefined;
    const { firstSeq } = entries[first] as JournalSlice;
    const frames = entries.slice(first, first + limit).flatMap((entry) => entry.frames);
    const known = Math.max(0, afterSeq + 1 - firstSeq);
    return { firstSeq: firstSeq + known, frames: frames.slice(known) };
  }

  trim(sid: string, seq: number): void {
    const journal = this.#journals.get(sid);
    if (journal !== undefined) journal.entries = journal.entries.filter((entry) => lastSeqOf(entry) > seq);
  }

  replace(sid: string, { firstSeq, frames }: JournalSlice, lastSeq: number): void {
    this.#journals.set(sid, { entries: frames.length === 0 ? [] : [{ firstSeq, frames }], lastSeq });
  }

  delete(sid: string): void {
    this.#journals.delete(sid);
  }

  clear(): void {
    this.#journals.clear();
  }
}
