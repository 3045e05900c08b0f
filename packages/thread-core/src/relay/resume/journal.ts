import { type Bytes, flatten } from '../../bytes.js';
import { headerOf, skipFrames, splitFrames } from '../frames/websocket-frames.js';

/** Frames with consecutive numbers, each in one batch only. */
interface Batch {
  /** The frames as they are written, each with its WebSocket header. Empty if it is dropped. */
  text: string;
  /** The numbers of the first and the last one. */
  firstSeq: number;
  readonly lastSeq: number;
  /** Size of the frames. */
  bytes: number;
}

function sizeOf(frames: Bytes[]): number {
  let size = 0;
  for (const { length } of frames) size += length;
  return size;
}

function headersOf(frames: Bytes[]): number {
  let size = 0;
  for (const frame of frames) size += headerOf(frame).length;
  return size;
}

/**
 * The numbered frames of a resumable session that the client has not acknowledged. What is written to the client at once is kept
 * as one text: thousands of small ones would cost the garbage collector more than all the rest of a stream.
 */
export class Journal {
  readonly #maxBytes: number;
  #batches: Batch[] = [];
  /** The index of the first batch that is not dropped. */
  #start = 0;
  /** The last frames, whose batch is not written yet. */
  #open: Bytes[] | undefined;
  #lastSeq: number;
  #acknowledged: number;
  #bytes = 0;

  /** `acknowledged`: the number of the last acknowledged frame. Numbering continues after it. */
  constructor(maxBytes: number, acknowledged = 0) {
    this.#maxBytes = maxBytes;
    this.#acknowledged = acknowledged;
    this.#lastSeq = acknowledged;
  }

  /** The number of the last frame; 0 before the first. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** The number up to which frames are acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Size of the frames that are kept. They include acknowledged ones, which are at most half of their batch. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#acknowledged === this.#lastSeq;
  }

  /** More than the limit is kept. `append` still works: backpressure is the caller's task. */
  get isFull(): boolean {
    return this.#bytes > this.#maxBytes;
  }

  /** The next frame, as it is sent now and in every replay. `members`: the frame without `{`. */
  number(members: Bytes): Bytes {
    return `{"seq":${this.#lastSeq + 1},${members}` as Bytes;
  }

  /** Keeps a numbered frame. `isBatched`: `onBatch` will be called with it. */
  append(frame: Bytes, isBatched: boolean): void {
    this.#lastSeq += 1;
    this.#bytes += frame.length;
    if (this.#open === undefined) this.#open = [frame];
    else this.#open.push(frame);
    if (!isBatched) this.closeBatch();
  }

  /** The last frames are written as one text, maybe with others. */
  onBatch(text: string): void {
    if (this.#open === undefined) return;
    const bytes = sizeOf(this.#open);
    // Others have no number, or are kept already: written again on this connection, or by the gateway that had it before.
    if (text.length === bytes + headersOf(this.#open)) this.#add(text, bytes);
    else this.closeBatch();
  }

  /** The last frames are not written, or one by one, or with others. */
  closeBatch(): void {
    if (this.#open === undefined) return;
    let text = '';
    for (const frame of this.#open) text += headerOf(frame) + frame;
    // In one piece, because parts of it would keep the agent's chunks in memory.
    this.#add(flatten(text), sizeOf(this.#open));
  }

  #add(text: string, bytes: number): void {
    const firstSeq = this.#lastSeq - (this.#open?.length ?? 0) + 1;
    this.#batches.push({ text, firstSeq, lastSeq: this.#lastSeq, bytes });
    this.#forgetOpen();
  }

  /**
   * What is forgotten is emptied first: a list or a batch that has become old keeps what it refers to in memory until the next
   * major garbage collection, and with it all of the frames that are small and new.
   */
  #forgetOpen(): void {
    this.#open?.fill('' as Bytes);
    this.#open = undefined;
  }

  /** Keeps frames that another node has numbered. */
  restore(frames: Bytes[]): void {
    for (const frame of frames) this.append(frame, false);
  }

  /** Whether a client may have received exactly this many frames: none that was never sent, and all that were dropped. */
  isPossible(seq: number): boolean {
    return Number.isSafeInteger(seq) && seq >= this.#acknowledged && seq <= this.#lastSeq;
  }

  /** Drops the frames up to a number. */
  acknowledge(seq: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, Math.min(seq, this.#lastSeq));
    if (this.isEmpty) return this.#clear();
    for (; this.#start < this.#batches.length; this.#start += 1) {
      const batch = this.#batches[this.#start] as Batch;
      if (batch.lastSeq > this.#acknowledged) break;
      this.#bytes -= batch.bytes;
      batch.text = '';
    }
    this.#cutFirst();
    // Not each time: a client may acknowledge thousands of frames one by one.
    if (this.#start * 2 <= this.#batches.length) return;
    this.#batches = this.#batches.slice(this.#start);
    this.#start = 0;
  }

  /** Drops the acknowledged frames of the first batch if they are more than half of it, which is then copied seldom enough. */
  #cutFirst(): void {
    const batch = this.#batches[this.#start];
    if (batch === undefined) return;
    const count = this.#acknowledged - batch.firstSeq + 1;
    if (count * 2 <= batch.lastSeq - batch.firstSeq + 1) return;
    const { rest, bytes } = skipFrames(batch.text, count);
    batch.text = rest;
    batch.firstSeq += count;
    batch.bytes -= bytes;
    this.#bytes -= bytes;
  }

  #clear(): void {
    if (this.#bytes === 0) return;
    for (const batch of this.#batches) batch.text = '';
    this.#batches = [];
    this.#start = 0;
    this.#forgetOpen();
    this.#bytes = 0;
  }

  /** Continues the numbers after this one, which is no smaller than the last. */
  skipTo(seq: number): void {
    this.acknowledge(this.#lastSeq);
    this.#lastSeq = seq;
    this.#acknowledged = seq;
  }

  /** The frames that are kept, in order. */
  frames(): Bytes[] {
    return this.framesAfter(this.#acknowledged);
  }

  /** The kept frames after a number: the first ones, if there are more than `most`. */
  framesAfter(seq: number, most = Number.POSITIVE_INFINITY): Bytes[] {
    const after = Math.max(seq, this.#acknowledged);
    const frames: Bytes[] = [];
    const take = (batch: Bytes[], lastSeq: number): void => {
      // The first batch may begin with frames up to that number.
      const first = batch.length - (lastSeq - after - frames.length);
      for (const frame of batch.slice(first, first + most - frames.length)) frames.push(frame);
    };
    // Only what is asked for is split: a long journal is copied to a store piece by piece.
    const start = this.#batches.findLastIndex(({ lastSeq }) => lastSeq <= after) + 1;
    for (let index = start; index < this.#batches.length && frames.length < most; index += 1) {
      const { text, lastSeq } = this.#batches[index] as Batch;
      take(splitFrames(text), lastSeq);
    }
    if (this.#open !== undefined && frames.length < most) take(this.#open, this.#lastSeq);
    return frames;
  }
}
