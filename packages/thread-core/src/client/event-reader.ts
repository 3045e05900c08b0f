import { createParser, type EventSourceParser } from 'eventsource-parser';
import { type Bytes, encode, endOfWhole, readBytes } from '../bytes.js';
import { Events, type StreamEvent } from './event.js';
import { endOfEvent, type KnownEvents, Run, type RunOwner } from './run.js';

/** Hears the events of a stream. */
export interface EventReaderOwner {
  onStreamEvent(event: StreamEvent): void;
  /** An event is longer than is read. */
  onLongEvent(): void;
}

/** How many bytes of a stream's end are kept, to recognise a last event that has a name and no data. */
const TAIL = 32;

/** What ends a stream as `done`, though by the letter of the SSE standard an event without data is none. */
const BARE_DONE = /(?:^|[\r\n])event: ?done(?:\r\n|\n|\r(?!\n)){2,}$/;

/** Room for what stands in a line beside an event's data, such as the name of its field. */
const FIELD = 64;

/** Reads the bytes of an SSE stream, wherever they were cut. */
export class EventReader implements RunOwner {
  readonly #owner: EventReaderOwner;
  readonly #parser: EventSourceParser;
  readonly #limit: number;
  readonly #events = new Events();
  readonly #run: Run;
  /** What was read last by the parser, and that it holds nothing more. */
  #parsed: StreamEvent | undefined;
  #isBetween = true;
  /** The beginning of a character whose end is still to come. */
  #cut: Buffer | undefined;
  #tail = '';
  #isStopped = false;

  /** `limit` is the most bytes that an event may have; `chatId` says which chat they are expected to be of. */
  constructor(owner: EventReaderOwner, limit: number, known: KnownEvents, chatId: unknown) {
    this.#owner = owner;
    this.#run = new Run(this.#events.shape, known, chatId);
    this.#limit = limit;
    this.#parser = createParser({
      maxBufferSize: limit + FIELD,
      onEvent: ({ event = '', data }) => {
        if (this.#isStopped) return;
        if (data.length > limit) return owner.onLongEvent();
        this.#parsed = this.#events.read(event as Bytes, data as Bytes);
        owner.onStreamEvent(this.#parsed);
      },
      onError: ({ type }) => {
        if (type === 'max-buffer-size-exceeded' && !this.#isStopped) owner.onLongEvent();
      },
    });
  }

  read(chunk: Buffer): void {
    const bytes = this.#cut === undefined ? chunk : Buffer.concat([this.#cut, chunk]);
    const end = endOfWhole(bytes);
    this.#cut = end === bytes.length ? undefined : bytes.subarray(end);
    if (end > 0) this.#feed(readBytes(this.#cut === undefined ? bytes : bytes.subarray(0, end)));
  }

  /** The stream has ended: its last event may lack its blank line, and its last character some bytes. */
  end(): void {
    this.#feed(`${this.#cut === undefined ? '' : readBytes(this.#cut)}\n\n`);
  }

  /** Nothing more of it is heard, nor of what the chunk that is being read still has. */
  stop(): void {
    this.#isStopped = true;
  }

  onRunEvent(event: StreamEvent): boolean {
    if (event.bytes.length > this.#limit) this.#owner.onLongEvent();
    else this.#owner.onStreamEvent(event);
    return !this.#isStopped;
  }

  #feed(text: string): void {
    this.#tail = (text.length < TAIL ? this.#tail + text : text).slice(-TAIL);
    for (let at = 0; at < text.length && !this.#isStopped; ) {
      if (this.#isBetween) at = this.#run.read(text, at, this);
      if (this.#isBetween && !this.#isStopped) at = this.#run.readDone(text, at, this);
      if (at < text.length && !this.#isStopped) at = this.#parse(text, at);
    }
    if (!this.#isStopped && mayBeDone(this.#tail) && BARE_DONE.test(this.#tail)) {
      this.#owner.onStreamEvent(this.#events.read(encode('done'), encode('')));
    }
  }

  /** Parses one event, or all there is where there is nothing to be gained. Gives where it ended. */
  #parse(text: string, at: number): number {
    const end = this.#run.isLost ? text.length : endOfEvent(text, at);
    const part = text.slice(at, end);
    this.#parsed = undefined;
    this.#parser.feed(part);
    const isWhole = part.endsWith('\n\n') || part.endsWith('\n\r\n');
    if (this.#parsed !== undefined && this.#isBetween && isWhole) {
      this.#run.learn(part, this.#parsed);
    }
    this.#isBetween = isWhole;
    return end;
  }
}

/** Whether the last line has the last letter of `done`: most chunks end with an event that has data. */
function mayBeDone(tail: string): boolean {
  let end = tail.length;
  while (end > 0 && tail.charCodeAt(end - 1) <= 13) end -= 1;
  return tail.charCodeAt(end - 1) === 101;
}
