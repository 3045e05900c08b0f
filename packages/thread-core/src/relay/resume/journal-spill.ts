import { setImmediate as endOfTurn } from 'node:timers/promises';
import { decode } from '../../bytes.js';
import { lastSeqOf } from '../store/journal-slice.js';
import { type JournalSlice, StoreError } from '../store/session-store.js';
import type { Journal } from './journal.js';

/** Where the journal is copied to. */
export interface SpillTarget {
  /** `next` gives the frames when it is their turn to be written: others may have to be written again first. */
  append(next: () => JournalSlice): Promise<void>;
  trim(seq: number): Promise<void>;
  /** Something could not be written. It is tried again with the next frame, or by `write`. */
  failed(error: unknown): void;
}

/** Frames of one entry in the store. */
const MAX_FRAMES = 1000;

/**
 * Copies the journal of a session to the store while the session has no connection here: so that its frames outlive this
 * process, and that another node can deliver them. One entry for each turn of the event loop.
 */
export class JournalSpill {
  readonly #journal: Journal;
  readonly #target: SpillTarget;
  /** The number of the last frame in the store; 0 if it has none. */
  #end: number;
  /** Called with the number of the last frame when frames were written. */
  onWritten: ((end: number) => void) | undefined;
  #isActive = false;
  #running: Promise<boolean> | undefined;

  /** `end`: the number of the last frame that the store has already. */
  constructor(journal: Journal, target: SpillTarget, end = 0) {
    this.#journal = journal;
    this.#target = target;
    this.#end = end;
  }

  /** The number of the last frame in the store. */
  get end(): number {
    return this.#end;
  }

  /** The store may have lost the frames: everything that is not acknowledged is copied again. */
  forgetStored(): void {
    this.#end = 0;
  }

  /** Copies what is not acknowledged, and everything that follows. */
  start(): void {
    this.#isActive = true;
    this.noteFrame();
  }

  /** There is a connection: nothing more is copied. */
  stop(): void {
    this.#isActive = false;
  }

  /** The journal has another frame. */
  noteFrame(): void {
    if (this.#isActive && this.#running === undefined && this.#lacks(this.#journal.lastSeq)) void this.#writeNext();
  }

  /** The client has acknowledged frames: removes them from the store. */
  noteAck(): void {
    const { acknowledged } = this.#journal;
    if (this.#end === 0 || (!this.#isActive && acknowledged < this.#end)) return;
    const end = this.#end;
    if (acknowledged >= end) this.#end = 0;
    this.#target.trim(acknowledged).catch((error: unknown) => {
      // The frames may still be in the store. What follows them is written when they are gone.
      if (this.#end === 0) this.#end = end;
      this.#target.failed(error);
    });
  }

  /**
   * Writes what the store does not have of the journal as it is now. Frames that come meanwhile may come faster than the store
   * takes them: they are not awaited. Resolves to whether it is written. Never rejects.
   */
  async write(): Promise<boolean> {
    const { lastSeq } = this.#journal;
    while (this.#isActive && this.#lacks(lastSeq)) {
      if (!(await this.#writeNext())) return false;
    }
    return true;
  }

  #lacks(seq: number): boolean {
    return Math.max(this.#end, this.#journal.acknowledged) < seq;
  }

  /** Writes one entry, at the end of this turn, and begins the next one if there are more frames. */
  #writeNext(): Promise<boolean> {
    this.#running ??= this.#writeEntry().then((isWritten) => {
      this.#running = undefined;
      if (isWritten) this.noteFrame();
      return isWritten;
    });
    return this.#running;
  }

  async #writeEntry(): Promise<boolean> {
    try {
      await endOfTurn();
      if (this.#isActive) await this.#append();
      return true;
    } catch (error) {
      this.#target.failed(error);
      return false;
    }
  }

  async #append(hadGap = false): Promise<void> {
    // There must be no gap between what the store has and what follows.
    if (this.#end > 0 && this.#end < this.#journal.acknowledged) await this.#removeAcknowledged();
    const end = this.#end;
    let slice = this.#next();
    if (slice.frames.length === 0) return;
    try {
      await this.#target.append(() => {
        if (this.#end !== end) slice = this.#next();
        return slice;
      });
    } catch (error) {
      if (hadGap || !(error instanceof StoreError && error.code === 'gap')) throw error;
      // The store has frames of a write that got no answer, and which the client has acknowledged since.
      await this.#removeAcknowledged();
      return this.#append(true);
    }
    this.#end = lastSeqOf(slice);
    this.onWritten?.(this.#end);
  }

  /** What the store does not have, as far as one entry takes it. */
  #next(): JournalSlice {
    const firstSeq = Math.max(this.#end, this.#journal.acknowledged) + 1;
    const frames = this.#journal.framesAfter(firstSeq - 1, MAX_FRAMES);
    return { firstSeq, frames: frames.map(decode) };
  }

  async #removeAcknowledged(): Promise<void> {
    await this.#target.trim(this.#journal.acknowledged);
    this.#end = 0;
  }
}
