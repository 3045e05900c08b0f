import { createParser, type EventSourceParser } from 'eventsource-parser';
import { type Bytes, encode, readBytes, utf8Boundary } from '../bytes.js';
import { EventParser, impliedDone, type StreamEvent } from './event.js';
import { EventRun, type EventRunOwner } from './event-run.js';

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

/** The byte order mark, with which a stream may begin without it being a part of its first line. */
const BOM = encode('\ufeff');

/** Room in a line for what stands beside an event's data, such as the name of its field. */
const FIELD_LENGTH = 64;

/** Reads the bytes of an SSE stream, wherever they were cut. */
export class SseReader implements EventRunOwner {
  readonly #owner: SseReaderOwner;
  readonly #maxEventBytes: number;
  readonly #lines: EventSourceParser;
  readonly #events = new EventParser();
  readonly #run = new EventRun(this.#events.recogniser);
  /** What the parser has read last. */
  #parsed: StreamEvent | undefined;
  /** The parser of lines holds nothing: an event begins next. */
  #isBetween = true;
  /** The first bytes of a character whose others are still to come. */
  #partialCharacter: Buffer | undefined;
  #tail = '';
  #isFirst = true;
  #isStopped = false;
  #isEnding = false;
  /** The stream ended within an event or a line: its last one lacks its end, and makes no event with JSON. */
  endedInEvent = false;

  /** `maxEventBytes` is the most bytes that the data of one event may have. */
  constructor(owner: SseReaderOwner, maxEventBytes: number) {
    this.#owner = owner;
    this.#maxEventBytes = maxEventBytes;
    this.#lines = createParser({
      maxBufferSize: maxEventBytes + FIELD_LENGTH,
      onEvent: ({ event = '', data }) => {
        if (!this.#isStopped) this.#read(event as Bytes, data as Bytes);
      },
      onError: ({ type }) => {
        if (type === 'max-buffer-size-exceeded' && !this.#isStopped) owner.onLongEvent();
      },
    });
    // So that it drops no byte order mark that is not at the beginning of the stream.
    this.#lines.feed('');
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

  /** @internal */
  onRunEvent(event: StreamEvent): boolean {
    if (event.bytes.length > this.#maxEventBytes) this.#owner.onLongEvent();
    else this.#owner.onStreamEvent(event);
    return !this.#isStopped;
  }

  #read(name: Bytes, data: Bytes): void {
    if (data.length > this.#maxEventBytes) return this.#owner.onLongEvent();
    const event = this.#events.read(name, data);
    this.#parsed = event;
    if (this.#isEnding) this.endedInEvent = this.#events.wasText;
    this.#owner.onStreamEvent(event);
  }

  #feed(text: string): void {
    if (this.#isStopped) return;
    if (this.#isFirst) {
      this.#isFirst = false;
      if (text.startsWith(BOM)) return this.#feed(text.slice(BOM.length));
    }
    this.#tail = (text.length < TAIL_LENGTH ? this.#tail + text : text).slice(-TAIL_LENGTH);
    for (let at = 0; at < text.length && !this.#isStopped; ) {
      if (this.#isBetween) at = this.#run.read(text, at, this);
      if (at < text.length && !this.#isStopped) at = this.#parse(text, at);
    }
    if (!this.#isStopped && mayBeDone(this.#tail) && BARE_DONE.test(this.#tail)) {
      this.#owner.onStreamEvent(impliedDone());
    }
  }

  /** Parses one event, or all of the text if the stream has no runs. Returns where that ends. */
  #parse(text: string, at: number): number {
    const blank = this.#run.isLost ? -1 : text.indexOf('\n\n', at);
    const end = blank === -1 ? text.length : blank + 2;
    const part = text.slice(at, end);
    const isWhole = this.#isBetween && blank !== -1;
    this.#parsed = undefined;
    this.#lines.feed(part);
    this.#isBetween = part.endsWith('\n\n');
    if (isWhole && this.#parsed !== undefined) this.#run.learn(part, this.#parsed);
    return end;
  }
}

/** Whether the last line ends as `done` does: most chunks end with an event that has data. */
function mayBeDone(tail: string): boolean {
  let end = tail.length;
  while (end > 0 && tail.charCodeAt(end - 1) <= 13) end -= 1;
  return tail.charCodeAt(end - 1) === 101;
}
