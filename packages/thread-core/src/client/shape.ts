import type { Bytes } from '../bytes.js';

/** What cannot stand in a JSON string as it is. */
const SPECIAL = /[^ !#-[\]-\uffff]/;

/** A JSON string without its quotes, but for escapes of four digits. */
const PLAIN = /^(?:[ !#-[\]-\uffff]|\\["\\/bfnrt])*$/;

/** Characters that `PLAIN` is tried on at most: it remembers each, and has an end to its memory. */
const MOST = 4096;

/** After so many texts in a row that did not have the shape no other is looked for: the stream has none. */
const MISSES = 8;

/**
 * The shape that the events of a stream mostly share: their JSON texts differ in one string. A text that has what is
 * before that string, and what is behind, and a valid string between, is JSON with the same structure; to know that
 * takes an eighth of the time that parsing takes.
 */
export class Shape {
  /** What stands before that string, with its first quote, and what behind it; empty where none is known. */
  head = '';
  tail = '';
  #last = '';
  #misses = 0;

  /** Whether a text is JSON, and all but the value of one string in it as in the text that was learnt last. */
  fits(text: Bytes): boolean {
    const head = this.head;
    const tail = this.tail;
    if (head === '' || text.length < head.length + tail.length) return false;
    // Not startsWith and endsWith: they compare character by character.
    if (text.slice(0, head.length) !== head || text.slice(-tail.length) !== tail) return false;
    const value = text.slice(head.length, text.length - tail.length);
    if (SPECIAL.test(value) && (value.length > MOST || !PLAIN.test(value))) return false;
    this.confirm();
    return true;
  }

  /** Its stream has a shape. */
  confirm(): void {
    this.#misses = 0;
  }

  /** Takes a text that did not fit, and is JSON. What varies between it and the one before must not be `fixed`. */
  learn(text: Bytes, fixed: Bytes): void {
    const last = this.#last;
    this.#last = text;
    this.head = '';
    if (this.#misses === MISSES) return;
    this.#misses += 1;
    const most = Math.min(last.length, text.length);
    let same = 0;
    while (same < most && last.charCodeAt(same) === text.charCodeAt(same)) same += 1;
    let behind = 0;
    while (
      behind < most - same &&
      last.charCodeAt(last.length - 1 - behind) === text.charCodeAt(text.length - 1 - behind)
    )
      behind += 1;
    if (same === 0) return;
    const from = text.lastIndexOf('"', same - 1) + 1;
    const to = text.indexOf('"', Math.max(from, text.length - behind));
    const value = text.slice(from, to);
    if (from === 0 || to === -1 || value === fixed || SPECIAL.test(value)) return;
    const head = text.slice(0, from);
    const tail = text.slice(to);
    // The last quote of the head opens a string if their number is odd, and none of them is escaped.
    if (head.includes('\\') || head.split('"').length % 2 !== 0) return;
    // The name of a field is no value: which fields there are would vary with it.
    if (/^"\s*:/.test(tail)) return;
    this.head = head;
    this.tail = tail;
  }
}
