import type { Bytes } from '../bytes.js';
import { StreamEvent } from './event.js';
import type { Shape } from './shape.js';

/** Hears the events of a run. */
export interface RunOwner {
  /** Gives whether any more are wanted. */
  onRunEvent(event: StreamEvent): boolean;
}

/** The text that events have in common. */
interface Form {
  /** From an event's first character to where the string begins in which they differ; all of it, where they do not. */
  readonly open: string;
  /** From that string's last quote to the end. */
  readonly close: string;
  /** Where the data begins. */
  readonly data: number;
  readonly event: string;
  readonly chatId: string | undefined;
}

/** What the events of an endpoint look like: a stream may begin and end as one before it, in another chat. */
export interface KnownEvents {
  run?: Form | undefined;
  done?: Form | undefined;
}

/** A JSON string from behind its first quote to before its last one. Each character is a byte. */
const STRING = /[ !#-[\]-\xff]*(?:\\(?:["\\/bfnrt]|u[\da-fA-F]{4})[ !#-[\]-\xff]*)*/y;

/** Of so many characters most pieces of an answer are at most: to look at each takes less time than the expression. */
const SHORT = 12;

/** More of a text is not looked through: the expression remembers each character of a string. */
const MOST = 1024 * 1024;

/** Longer forms are not kept beyond their stream, in bytes: there may be one for each of a thousand endpoints. */
const MOST_KEPT = 4096;

/** After so many events in a row that had to be parsed, because they were not as one before, no others are looked for. */
const MISSES = 8;

/** How an event begins that has all of its data in one line, and nothing else but a name. */
const BEGINNING = /^(?:event:[^\r\n]*\r?\n)?data: ?$/;

/** An id that is written as it is, in JSON and in UTF-8. */
const PLAIN_ID = /^[\w.:-]+$/;

/**
 * Events that stand one behind the other in a stream, and differ in one string: their names, the structure of their data,
 * even the ends of their lines are the same. What follows such an event and goes on as it does needs no parser, neither of
 * SSE nor of JSON: only the string between two known texts is looked at.
 */
export class Run {
  readonly #shape: Shape;
  readonly #known: KnownEvents;
  #form: Form | undefined;
  /** What stands between the strings of two events. */
  #between = '';
  readonly #done: Form | undefined;
  #misses = 0;

  /** `shape` is what the data of its stream's events shares, `chatId` the chat that they are expected to be of. */
  constructor(shape: Shape, known: KnownEvents, chatId: unknown) {
    this.#shape = shape;
    this.#known = known;
    this.#use(inChat(known.run, chatId));
    this.#done = inChat(known.done, chatId);
  }

  /** Its stream has none. */
  get isLost(): boolean {
    return this.#misses === MISSES;
  }

  /** Reads events from `at` on, where one begins, as long as they belong to it. Gives where they end. */
  read(text: string, at: number, owner: RunOwner): number {
    // Not startsWith: it compares character by character.
    if (this.#form === undefined || text.length > MOST || !stands(this.#form.open, text, at)) return at;
    const { open, close, data, event, chatId } = this.#form;
    const between = this.#between;
    const behind = endOf(close).length;
    for (let start = at; ; ) {
      const quote = endOfString(text, start + open.length);
      const goesOn = stands(between, text, quote);
      if (!goesOn && !stands(close, text, quote)) return start;
      if (start === at) this.#confirm();
      const end = quote + close.length;
      const bytes = text.slice(start + data, end - behind) as Bytes;
      if (!owner.onRunEvent(new StreamEvent(event, bytes, chatId)) || !goesOn) return end;
      start = end;
    }
  }

  /** Reads the last event, where it begins at `at` and is as known. Gives where it ends. */
  readDone(text: string, at: number, owner: RunOwner): number {
    if (this.#done === undefined || !stands(this.#done.open, text, at)) return at;
    const { open, data, event, chatId } = this.#done;
    owner.onRunEvent(new StreamEvent(event, open.slice(data, -endOf(open).length) as Bytes, chatId));
    return at + open.length;
  }

  /** Takes an event that was parsed, and the text that it was parsed from. */
  learn(text: string, { event, bytes, chatId }: StreamEvent): void {
    if (this.isLost) return;
    this.#misses += 1;
    const end = endOf(text);
    const data = text.length - end.length - bytes.length;
    if (data < 0 || text.slice(data) !== bytes + end || !BEGINNING.test(text.slice(0, data))) return;
    if (event === 'done') {
      this.#known.done = kept({ open: text, close: '', data, event, chatId });
      return;
    }
    const { head, tail } = this.#shape;
    if (head === '' || !stands(head, bytes, 0)) return;
    const form = { open: text.slice(0, data) + head, close: tail + end, data, event, chatId };
    this.#use(form);
    this.#known.run = kept(form);
  }

  #confirm(): void {
    this.#misses = 0;
    this.#shape.confirm();
  }

  #use(form: Form | undefined): void {
    this.#form = form;
    if (form !== undefined) this.#between = form.close + form.open;
  }
}

/** Where a JSON string ends that begins at `at`; anywhere, where it is none. */
function endOfString(text: string, at: number): number {
  // To ask for a character behind the end, once, would have V8 ask more slowly ever after.
  const most = Math.min(at + SHORT, text.length);
  for (let end = at; end < most; end += 1) {
    const code = text.charCodeAt(end);
    if (code === 0x22) return end;
    if (code < 0x20 || code === 0x5c) break;
  }
  STRING.lastIndex = at;
  STRING.test(text);
  return STRING.lastIndex;
}

function stands(part: string, text: string, at: number): boolean {
  return text.slice(at, at + part.length) === part;
}

/** The same in another chat. Undefined where that is not certain. */
function inChat(form: Form | undefined, chatId: unknown): Form | undefined {
  if (form === undefined || form.chatId === undefined) return form;
  if (typeof chatId !== 'string' || !PLAIN_ID.test(chatId)) return undefined;
  const { open, close, data, event } = form;
  const at = open.indexOf(`"${form.chatId}"`) + 1;
  return { open: open.slice(0, at) + chatId + open.slice(at + form.chatId.length), close, data, event, chatId };
}

/** A form that may be used in other chats: where the id is said, it is said once. */
function kept(form: Form): Form | undefined {
  const { open, close, chatId } = form;
  if (open.length + close.length > MOST_KEPT) return undefined;
  if (chatId !== undefined) {
    const text = open + close;
    const id = `"${chatId}"`;
    if (
      !PLAIN_ID.test(chatId) ||
      text.includes('\\') ||
      !open.includes(id) ||
      text.indexOf(id) !== text.lastIndexOf(id)
    )
      return undefined;
  }
  return { ...form, open: copy(open), close: copy(close) };
}

/** A slice would keep the whole text that it was cut from. */
function copy(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** The blank line at the end of a text, and the end of the line before. */
function endOf(text: string): string {
  return text.endsWith('\r\n') ? '\r\n\r\n' : '\n\n';
}

/** Where an event ends that begins at `at`: behind its blank line, or where the text ends. */
export function endOfEvent(text: string, at: number): number {
  const line = text.indexOf('\n', at);
  const blank = text[line - 1] === '\r' ? '\n\r\n' : '\n\n';
  const end = text.indexOf(blank, line);
  return line === -1 || end === -1 ? text.length : end + blank.length;
}
