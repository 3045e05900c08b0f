import type { Bytes } from '../../bytes.js';

/** Acknowledged frames are removed from the array when there are this many of them. */
const COMPACT_AT = 1024;

/** The numbered frames of a resumable session that the client has not acknowledged. */
export class Journal {
  readonly #maxBytes: number;
  #frames: Bytes[] = [];
  /** The index of the first frame that is not acknowledged. */
  #start = 0;
  #acknowledged: number;
  #bytes = 0;

  /** `acknowledged`: the number of the last acknowledged frame. Numbering continues after it. */
  constructor(maxBytes: number, acknowledged = 0) {
    this.#maxBytes = maxBytes;
    this.#acknowledged = acknowledged;
  }

  /** The number of the last frame; 0 before the first. */
  get lastSeq(): number {
    return this.#acknowledged + this.#frames.length - this.#start;
  }

  /** The number up to which frames are acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Size of the frames that are kept. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#start === this.#frames.length;
  }

  /** More than the limit is kept. `append` still works: backpressure is the caller's task. */
  get isFull(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** Numbers a frame and keeps it. Returns what is to be sent, now and in every replay. */
  append(frame: Bytes): Bytes {
    // `slice` copies a frame that was concatenated: a piece of it would keep the agent's whole chunk in memory.
    const numbered = `{"seq":${this.lastSeq + 1},${frame.slice(1)}` as Bytes;
    this.#frames.push(numbered);
    this.#bytes += numbered.length;
    return numbered;
  }

  /** Keeps frames that another node has numbered. */
  restore(frames: Bytes[]): void {
    for (const frame of frames) {
      this.#frames.push(frame);
      this.#bytes += frame.length;
    }
  }

  /** Whether a client may have received exactly this many frames: none that was never sent, and all that were dropped. */
  isPossible(seq: number): boolean {
    return Number.isSafeInteger(seq) && seq >= this.#acknowledged && seq <= this.lastSeq;
  }

  /** Drops the frames up to a number. */
  acknowledge(seq: number): void {
    while (this.#acknowledged < seq && this.#start < this.#frames.length) {
      this.#bytes -= (this.#frames[this.#start] as Bytes).length;
      this.#frames[this.#start] = '' as Bytes;
      this.#start += 1;
      this.#acknowledged += 1;
    }
    if (this.#start < COMPACT_AT && this.#start < this.#frames.length) return;
    this.#frames = this.#frames.slice(this.#start);
    this.#start = 0;
  }

  /** Continues the numbers after this one, which is no smaller than the last. */
  skipTo(seq: number): void {
    this.acknowledge(this.lastSeq);
    this.#acknowledged = seq;
  }

  /** The frames that are kept, in order. */
  frames(): Bytes[] {
    return this.#frames.slice(this.#start);
  }

  /** The kept frames after a number. */
  framesAfter(seq: number): Bytes[] {
    return this.#frames.slice(this.#start + Math.max(0, seq - this.#acknowledged));
  }
}
