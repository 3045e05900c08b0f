import type { Bytes } from '../bytes.js';
import { StreamEvent } from './event.js';
import { fastPath } from './fast-path.js';
import type { JsonRecogniser } from './json-shape.js';

/** Receives the events of a run. */
export interface EventRunOwner {
  /** Returns whether more events are wanted. */
  onRunEvent(event: StreamEvent): boolean;
}

/** The text that the events of a run share. */
interface Form {
  /** From the beginning of an event to the first quote of the string in which they differ. */
  readonly open: string;
  /** From the last quote of that string to the end of the event. */
  readonly close: string;
  /** The end of an event and the beginning of the next one, in one string. */
  readonly between: string;
  /** Where the data begins in `open`. */
  readonly data: number;
  readonly event: string;
  readonly chatId: string | undefined;
}

/** What stands before the data of an event that has nothing but a name, and data in one line. */
const BEGINNING = /^(?:event:[^\r\n]*\n)?data: ?$/;

/** A longer name is not looked at. */
const MAX_BEGINNING_LENGTH = 128;

/** What ends the line of the data, and the event. */
const END = '\n\n';

/** After so many events in a row that continued no run, the rest of the stream is parsed: it has none. */
const MAX_MISSES = 8;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Most pieces of an answer have fewer characters. To look at each is faster than a regular expression. */
const SHORT_LENGTH = 24;

/** What cannot stand in a JSON string as it is. */
const SPECIAL = /[^ !#-[\]-\uffff]/;

/** What may follow a backslash, except for an escape of four digits. */
const ESCAPED = new Set(Array.from('"\\/bfnrt', (character) => character.charCodeAt(0)));

/**
 * Consecutive events of one stream that differ in one string only. They are read without the parsers of SSE and JSON: the
 * text before the string and behind it is that of an event that was parsed. This only saves time; a fuzzer compares the
 * results with those of the parsers. It knows nothing of other streams.
 */
export class EventRun {
  readonly #recogniser: JsonRecogniser;
  #form: Form | undefined;
  #misses = fastPath.isEnabled ? 0 : MAX_MISSES;

  constructor(recogniser: JsonRecogniser) {
    this.#recogniser = recogniser;
  }

  /** The stream has no runs: nothing more is to be read or learnt. */
  get isLost(): boolean {
    return this.#misses === MAX_MISSES;
  }

  /** Reads events from `at`, where one begins, while they belong to the run. Returns where they end. */
  read(text: string, at: number, owner: EventRunOwner): number {
    const form = this.#form;
    // Not startsWith: it compares character by character.
    if (form === undefined || text.slice(at, at + form.open.length) !== form.open) return at;
    const { open, close, between, data, event, chatId } = form;
    for (let start = at; ; ) {
      const quote = endOfString(text, start + open.length);
      if (quote === -1) return start;
      const isFollowed = text.slice(quote, quote + between.length) === between;
      if (!isFollowed && text.slice(quote, quote + close.length) !== close) return start;
      this.#misses = 0;
      const end = quote + close.length;
      const bytes = text.slice(start + data, end - END.length) as Bytes;
      if (!owner.onRunEvent(new StreamEvent(event, bytes, chatId)) || !isFollowed) return end;
      start = end;
    }
  }

  /** Takes an event that was parsed, and the text that it was parsed from. */
  learn(text: string, { event, bytes, chatId }: StreamEvent): void {
    this.#misses += 1;
    this.#form = undefined;
    const { head, tail } = this.#recogniser;
    const data = text.length - bytes.length - END.length;
    if (head === '' || data < 0 || data > MAX_BEGINNING_LENGTH || event === 'done' || event === 'error') return;
    if (text.slice(data) !== bytes + END || !bytes.startsWith(head) || !bytes.endsWith(tail)) return;
    const beginning = text.slice(0, data);
    if (!BEGINNING.test(beginning)) return;
    const open = beginning + head;
    const close = tail + END;
    this.#form = { open, close, between: close + open, data, event, chatId };
  }
}

/** Where the last quote of the JSON string stands that begins at `at`; -1 if that is for the parser to say. */
function endOfString(text: string, at: number): number {
  const most = Math.min(at + SHORT_LENGTH, text.length);
  for (let end = at; end < most; end += 1) {
    const code = text.charCodeAt(end);
    if (code === QUOTE) return end;
    if (code < 0x20) return -1;
    if (code === BACKSLASH) {
      end += 1;
      if (end === most || !ESCAPED.has(text.charCodeAt(end))) return -1;
    }
  }
  const quote = text.indexOf('"', most);
  return quote === -1 || SPECIAL.test(text.slice(most, quote)) ? -1 : quote;
}
