import type { Bytes } from '../bytes.js';

/** A JSON string, whatever it says, and a number. */
const STRING = '"[ !#-[\\]-\\uffff]*(?:\\\\(?:["\\\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-[\\]-\\uffff]*)*"';
const NUMBER = '-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?';

/** The strings and the numbers of a JSON text; a string with a colon behind it is the name of a field. */
const VALUES = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*/g;

/** Longer texts are parsed: they are few, and an expression that failed late would have read them for nothing. */
const MOST = 8192;

/**
 * What the answers of an endpoint have in common: mostly they differ in the values of their strings and numbers only. A
 * text that is as one that was parsed, but for those, is JSON of the same structure. To know that takes less time than
 * parsing takes, and makes no objects.
 */
export class Template {
  #expression: RegExp | undefined;
  #misses = 0;

  /** Whether a text is JSON, and as the text that was learnt last, but for the values of its strings and numbers. */
  fits(text: Bytes): boolean {
    return this.#expression !== undefined && text.length <= MOST && this.#expression.test(text);
  }

  /** Takes a text that did not fit, and is JSON. The more of them there are, the more seldom it is worth the while. */
  learn(text: Bytes): void {
    this.#misses += 1;
    if (text.length > MOST || (this.#misses & (this.#misses - 1)) !== 0) return;
    let source = '';
    let end = 0;
    for (const { 0: match, 1: string, 2: colon, index } of text.matchAll(VALUES)) {
      source += literal(text.slice(end, index));
      if (string === undefined) source += NUMBER;
      else source += colon === undefined ? STRING : literal(match);
      end = index + match.length;
    }
    this.#expression = new RegExp(`^${source}${literal(text.slice(end))}$`);
  }
}

function literal(text: string): string {
  return text.replace(/[$()*+./?[\\\]^{|}-]/g, '\\$&');
}
