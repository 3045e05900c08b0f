import { createParser, type EventSourceParser } from 'eventsource-parser';
import { type Bytes, readBytes, utf8Boundary } from '../bytes.js';
import { EventParser, impliedDone, type StreamEvent } from './event.js';

/** Receives the events of a stream. */
export interface SseReaderOwner {
  onStreamEvent(event: StreamEvent): void;
  /** An event is longer than allowed. */
  onLongEvent(): void;
}

/** How many bytes of a stream's end are kept, to recognise a last event that has a name and no data. */
const TAIL_LENGTH = 32;

/** An event `done` without data. The SSE standard drops events without data, but agents mean it. */
const BARE_DONE = /\nevent: ?done\n{2,}$/;

/** How lines may end beside LF. */
const OTHER_ENDS = /\r\n?/g;

/** Lines of data that an event may always have. Each takes up to this many bytes of memory beside its text. */
const MIN_LINES = 1024;
const BYTES_OF_LINE = 64;

const LF = 10;

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
  /** The last chunk ended with CR: a LF at the begin of the next one is a part of the same end of a line. */
  #endedInCr = false;
  /** Lines since the last one that was empty. */
  #lineCount = 0;
  readonly #maxLines: number;
  #isStopped = false;
  #isEnding = false;
  /** The stream ended within an event or a line: its last one lacks its end, and makes no event with JSON. */
  endedInEvent = false;

  /** `maxEventBytes` is the most bytes that the data of one event may have. */
  constructor(owner: SseReaderOwner, maxEventBytes: number) {
    this.#owner = owner;
    this.#maxLines = Math.max(MIN_LINES, maxEventBytes / BYTES_OF_LINE);
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
    this.endedInEvent = this.#tail !== '' && !this.#tail.endsWith('\n');
    this.#feed(`${this.#partialCharacter === undefined ? '' : readBytes(this.#partialCharacter)}\n\n`);
  }

  /** Reports no further event, not even of the chunk that is being read. */
  stop(): void {
    this.#isStopped = true;
  }

  #read(name: Bytes, data: Bytes): void {
    const event = this.#events.read(name, data);
    if (this.#isEnding) this.endedInEvent = this.#events.wasText;
    this.#owner.onStreamEvent(event);
  }

  #feed(chunk: string): void {
    const text = this.#withLineFeeds(chunk);
    if (this.#isStopped || text === '') return;
    const fields = this.#fieldsOf(text);
    if (this.#lineCount > this.#maxLines) return this.#owner.onLongEvent();
    this.#tail = (text.length < TAIL_LENGTH ? this.#tail + text : text).slice(-TAIL_LENGTH);
    this.#lines.feed(fields);
    if (!this.#isStopped && mayBeDone(this.#tail) && isBareDone(this.#tail)) {
      this.#owner.onStreamEvent(impliedDone());
    }
  }

  /** The text with LF at the end of each line. The parser would look for each end in the rest of the chunk, for each line. */
  #withLineFeeds(chunk: string): string {
    const text = this.#endedInCr && chunk.startsWith('\n') ? chunk.slice(1) : chunk;
    this.#endedInCr = chunk.endsWith('\r');
    return text.includes('\r') ? text.replace(OTHER_ENDS, '\n') : text;
  }

  /**
   * The text without lines that mean nothing here, for each of which the parser may make an error with a stack. Lines that
   * are cut stay, and so does the first of a stream, which may begin with a byte order mark.
   */
  #fieldsOf(text: string): string {
    let kept = '';
    let copied = 0;
    let start = 0;
    let isWholeLine = this.#tail.endsWith('\n');
    for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', start)) {
      if (isWholeLine && end === start) this.#lineCount = 0;
      else if (!isWholeLine || isField(text, start)) this.#lineCount += 1;
      else {
        kept += text.slice(copied, start);
        copied = end + 1;
      }
      isWholeLine = true;
      start = end + 1;
      if (text.charCodeAt(start) === LF) {
        // The event is complete. To search for this end as well would cost as much again.
        this.#lineCount = 0;
        start += 1;
      }
    }
    return copied === 0 ? text : kept + text.slice(copied);
  }
}

/**
 * Whether the line that begins here is a field that events are made of: `data` or `event`. By character, which takes half
 * the time of `startsWith`.
 */
function isField(text: string, start: number): boolean {
  const code = (offset: number): number => text.charCodeAt(start + offset);
  if (code(0) === 100) return code(1) === 97 && code(2) === 116 && code(3) === 97 && endsName(code(4));
  return (
    code(0) === 101 && code(1) === 118 && code(2) === 101 && code(3) === 110 && code(4) === 116 && endsName(code(5))
  );
}

/** A colon, or the end of the line, follows the name of a field. */
function endsName(code: number): boolean {
  return code === 58 || code === LF;
}

/** A tail that is shorter than it may be is the whole stream, so that a line begins where it does. */
function isBareDone(tail: string): boolean {
  return BARE_DONE.test(tail.length < TAIL_LENGTH ? `\n${tail}` : tail);
}

/** Whether the last line ends as `done` does: most chunks end with an event that has data. */
function mayBeDone(tail: string): boolean {
  let end = tail.length;
  while (end > 0 && tail.charCodeAt(end - 1) <= 13) end -= 1;
  return tail.charCodeAt(end - 1) === 101;
}
