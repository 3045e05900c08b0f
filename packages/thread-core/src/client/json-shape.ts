import type { Bytes } from '../bytes.js';
import { fastPath } from './fast-path.js';

/**
 * Recognises texts as JSON without parsing them. It only saves time: with `parseAlways` in its place every event is the
 * same. A fuzzer compares the two.
 */
export interface JsonRecogniser {
  /** Whether a text is surely JSON with the structure of the text that was learnt last. */
  fits(text: Bytes): boolean;
  /** Takes a text that did not fit, and is JSON. `fixed` is a string of it that must not vary: the chat id. */
  learn(text: Bytes, fixed: Bytes): void;
}

/** Every text is parsed. */
const parseAlways: JsonRecogniser = { fits: () => false, learn: () => {} };

export function createRecogniser(): JsonRecogniser {
  return fastPath.isEnabled ? new JsonShape() : parseAlways;
}

/** What cannot stand in a JSON string as it is. */
const SPECIAL = /[^ !#-[\]-\uffff]/;

/** A JSON string without its quotes, and without escapes of four digits. */
const PLAIN = /^(?:[ !#-[\]-\uffff]|\\["\\/bfnrt])*$/;

/** Longer strings with escapes are left to the parser, because `PLAIN` backtracks per character. */
const MAX_ESCAPED_LENGTH = 4096;

/** After this many texts in a row that did not fit, none is learnt any more: the stream has no common shape. */
const MAX_MISSES = 8;

/**
 * The shape that the events of a stream mostly share: their JSON texts differ in the value of one string. A text with the
 * same characters before and behind that string, and a valid string between, is JSON with the same structure. To know that
 * takes an eighth of the time that parsing takes.
 */
class JsonShape implements JsonRecogniser {
  /** The text before the string, with its first quote, and the text after it. Empty if none is known. */
  #head = '';
  #tail = '';
  #last = '';
  #misses = 0;

  fits(text: Bytes): boolean {
    const head = this.#head;
    const tail = this.#tail;
    if (head === '' || text.length < head.length + tail.length) return false;
    // Not startsWith and endsWith: they compare character by character.
    if (text.slice(0, head.length) !== head || text.slice(-tail.length) !== tail) return false;
    const value = text.slice(head.length, text.length - tail.length);
    if (SPECIAL.test(value) && (value.length > MAX_ESCAPED_LENGTH || !PLAIN.test(value))) return false;
    this.#misses = 0;
    return true;
  }

  learn(text: Bytes, fixed: Bytes): void {
    const last = this.#last;
    this.#last = text;
    this.#head = '';
    if (this.#misses === MAX_MISSES) return;
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
    this.#head = head;
    this.#tail = tail;
  }
}
