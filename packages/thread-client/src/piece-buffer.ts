import { LimitError } from './errors.js';

/** One piece of an answer. */
export interface Piece {
  /** `response`: the agent answered with a whole envelope instead of a stream. */
  readonly type: 'content' | 'metadata' | 'event' | 'response';
  /** The name of the event; only if `type` is `event`. */
  readonly event?: string;
  /** What the agent sent: the event's data, or the whole envelope. */
  readonly data: unknown;
  /** The text in it; empty for `metadata` and `event`. */
  readonly text: string;
}

/** Characters that are kept of an answer. If more is unread, acknowledgements are held back. */
export const MAX_KEPT = 1_048_576;
/** The most that may be unread if holding back does not help, for example because the relay cannot resume. */
const MAX_UNREAD = 16 * MAX_KEPT;

/**
 * The pieces of one answer. Every loop over it begins at the first piece, while that is kept. Beyond `MAX_KEPT` what all
 * loops have read is dropped; without a loop, everything is.
 */
export class PieceBuffer implements AsyncIterable<Piece> {
  readonly #onChange: () => void;
  /** By number, from `#dropped` on. Taking the first from a long array would move all others. */
  readonly #kept = new Map<number, { piece: Piece; size: number }>();
  readonly #readers = new Set<{ next: number }>();
  /** Loops that wait for a piece. */
  #waiting: Array<() => void> = [];
  #dropped = 0;
  #size = 0;
  #end: { error: unknown } | undefined;

  /** `onChange` is called whenever `full` may have changed. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** Loops have more unread than is to be kept. */
  get full(): boolean {
    return this.#size > MAX_KEPT && this.#readers.size > 0 && !this.#end;
  }

  /** False if so much is unread that the turn has to be given up. */
  push(piece: Piece, size: number): boolean {
    this.#kept.set(this.#dropped + this.#kept.size, { piece, size });
    this.#size += size;
    this.#trim();
    this.#notify();
    return this.#size <= MAX_UNREAD;
  }

  /** Called before the first piece: those before it are lost, so loops fail at once. */
  skip(): void {
    this.#dropped++;
  }

  /** No piece follows. With an error, loops throw it once they have read what there is. */
  end(error?: unknown): void {
    this.#end ??= { error };
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    const reader = { next: 0 };
    this.#readers.add(reader);
    try {
      for (;;) {
        if (reader.next < this.#dropped) throw new LimitError('UNREAD');
        const entry = this.#kept.get(reader.next);
        if (entry) {
          reader.next++;
          this.#trim();
          yield entry.piece;
        } else if (this.#end) {
          if (this.#end.error) throw this.#end.error;
          return;
        } else {
          await new Promise<void>((resolve) => this.#waiting.push(resolve));
        }
      }
    } finally {
      this.#readers.delete(reader);
      this.#trim();
    }
  }

  #trim(): void {
    const wasFull = this.#size > MAX_KEPT;
    // Infinity without a loop: then everything above the limit is dropped.
    const read = Math.min(...[...this.#readers].map(({ next }) => next));
    while (this.#size > MAX_KEPT && this.#dropped < read) {
      const oldest = this.#kept.get(this.#dropped);
      if (!oldest) break;
      this.#size -= oldest.size;
      this.#kept.delete(this.#dropped++);
    }
    if (wasFull) this.#onChange();
  }

  #notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }
}
