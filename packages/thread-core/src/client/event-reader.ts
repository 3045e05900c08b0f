import { TextDecoder } from 'node:util';
import { createParser, type EventSourceParser } from 'eventsource-parser';

/** Hears the events of a stream. */
export interface EventReaderOwner {
  onStreamEvent(name: string, text: string): void;
  /** An event is longer than is read. */
  onLongEvent(): void;
}

/** How many characters of a stream's end are kept, to recognise a last event that has a name and no data. */
const TAIL = 32;

/** What ends a stream as `done`, though by the letter of the SSE standard an event without data is none. */
const BARE_DONE = /(?:^|[\r\n])event: ?done(?:\r\n|\n|\r(?!\n)){2,}$/;

/** Room for what stands in a line beside an event's data, such as the name of its field. */
const FIELD = 64;

/** Reads the bytes of an SSE stream, wherever they were cut. */
export class EventReader {
  readonly #owner: EventReaderOwner;
  readonly #parser: EventSourceParser;
  readonly #decoder = new TextDecoder();
  #tail = '';
  #isStopped = false;

  /** `limit` is the most characters that an event may have. */
  constructor(owner: EventReaderOwner, limit: number) {
    this.#owner = owner;
    this.#parser = createParser({
      maxBufferSize: limit + FIELD,
      onEvent: ({ event = '', data }) => {
        if (this.#isStopped) return;
        if (data.length > limit) owner.onLongEvent();
        else owner.onStreamEvent(event, data);
      },
      onError: ({ type }) => {
        if (type === 'max-buffer-size-exceeded' && !this.#isStopped) owner.onLongEvent();
      },
    });
  }

  read(chunk: Buffer): void {
    this.#feed(this.#decoder.decode(chunk, { stream: true }));
  }

  /** The stream has ended: its last event may lack its blank line, and its last character some bytes. */
  end(): void {
    this.#feed(`${this.#decoder.decode()}\n\n`);
  }

  /** Nothing more of it is heard, nor of what the chunk that is being read still has. */
  stop(): void {
    this.#isStopped = true;
  }

  #feed(text: string): void {
    this.#tail = (text.length < TAIL ? this.#tail + text : text).slice(-TAIL);
    this.#parser.feed(text);
    if (!this.#isStopped && BARE_DONE.test(this.#tail)) this.#owner.onStreamEvent('done', '');
  }
}
