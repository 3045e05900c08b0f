import { createParser, type EventSourceParser } from 'eventsource-parser';
import { type Bytes, readBytes, utf8Boundary } from '../bytes.js';
import { EventParser, impliedDone, type StreamEvent } from './event.js';

/** Hears the events of a stream. */
export interface SseReaderOwner {
  onStreamEvent(event: StreamEvent): void;
  /** An event is longer than allowed. */
  onLongEvent(): void;
}

/** How many bytes of a stream's end are kept, to recognise a last event that has a name and no data. */
const TAIL_LENGTH = 32;

/** An event `done` without data. The SSE standard drops events without data, but agents mean it. */
const BARE_DONE = /(?:^|[\r\n])event: ?done(?:\r\n|\n|\r(?!\n)){2,}$/;

/** Room in a line for what stands beside an event's data, such as the name of its field. */
const FIELD_LENGTH = 64;

/** Reads the bytes of an SSE stream, wherever they were cut. */
export class SseReader {
  readonly #owner: SseReaderOwner;
  readonly #lines: EventSourceParser;
  readonly #events = new EventParser();
  /** The first bytes of a character whose others are still to come. */
  #partialCharacter: Buffer | undefined;
  #tail = '';
  #isStopped = false;
  #isEnding = false;
  /** The stream ended within an event or a line: its last one lacks its end, and makes no event with JSON. */
  endedInEvent = false;

  /** `maxEventBytes` is the most bytes that the data of one event may have. */
  constructor(owner: SseReaderOwner, maxEventBytes: number) {
    this.#owner = owner;
    this.#lines = createParser({
      maxBufferSize: maxEventBytes + FIELD_LENGTH,
      onEvent: ({ event = '', data }) => {
        if (this.#isStopped) return;
        if (data.length > maxEventBytes) owner.onLongEvent();
        else this.#read(event as Bytes, data as Bytes);
      },
      onError: ({ type }) => {
        if (type === 'max-buffer-size-exceeded' && !this.#isStopped) owner.onLongEvent();
      },
    });
  }

  /** An event had `NaN` or `Infinity` in its data. */
  get hadNonFinite(): boolean {
    return this.#events.hadNonFinite;
  }

  read(chunk: Buffer): void {
    const bytes = this.#partialCharacter === undefined ? chunk : Buffer.concat([this.#partialCharacter, chunk]);
    const end = utf8Boundary(bytes);
    this.#partialCharacter = end === bytes.length ? undefined : bytes.subarray(end);
    if (end > 0) this.#feed(readBytes(end === bytes.length ? bytes : bytes.subarray(0, end)));
  }

  /** The stream has ended: its last event may lack its blank line, and its last character some bytes. */
  end(): void {
    this.#isEnding = true;
    // Until the last line proves to be a part of an event.
    this.endedInEvent = this.#tail !== '' && !/[\r\n]$/.test(this.#tail);
    this.#feed(`${this.#partialCharacter === undefined ? '' : readBytes(this.#partialCharacter)}\n\n`);
  }

  /** Tells nothing more, not even the rest of the chunk that is being read. */
  stop(): void {
    this.#isStopped = true;
  }

  #read(name: Bytes, data: Bytes): void {
    const event = this.#events.read(name, data);
    if (this.#isEnding) this.endedInEvent = this.#events.wasText;
    this.#owner.onStreamEvent(event);
  }

  #feed(text: string): void {
    if (this.#isStopped) return;
    this.#tail = (text.length < TAIL_LENGTH ? this.#tail + text : text).slice(-TAIL_LENGTH);
    this.#lines.feed(text);
    if (!this.#isStopped && mayBeDone(this.#tail) && BARE_DONE.test(this.#tail)) {
      this.#owner.onStreamEvent(impliedDone());
    }
  }
}

/** Whether the last line ends as `done` does: most chunks end with an event that has data. */
function mayBeDone(tail: string): boolean {
  let end = tail.length;
  while (end > 0 && tail.charCodeAt(end - 1) <= 13) end -= 1;
  return tail.charCodeAt(end - 1) === 101;
}
