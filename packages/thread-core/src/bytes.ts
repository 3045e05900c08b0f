import { isUtf8 } from 'node:buffer';

declare const kind: unique symbol;

/**
 * Bytes of UTF-8 as a string with one character for each byte: what Node calls `latin1`. Text that only passes through is cut
 * and joined like any other string. It is never decoded and encoded again, which would take longer than all the rest.
 */
export type Bytes = string & { readonly [kind]: 'UTF-8' };

const NOT_ASCII = /[\u0080-\uffff]/;

export function encode(text: string): Bytes {
  return (NOT_ASCII.test(text) ? Buffer.from(text).toString('latin1') : text) as Bytes;
}

export function decode(bytes: Bytes): string {
  return NOT_ASCII.test(bytes) ? Buffer.from(bytes, 'latin1').toString() : bytes;
}

/**
 * The same text in one piece. V8 keeps a concatenated string as a tree of its pieces until something reads it, and copies
 * each piece wherever the string becomes a part of others. For text that is written many times, one copy is cheaper.
 */
export function flatten<Text extends string>(text: Text): Text {
  NOT_ASCII.test(text);
  return text;
}

/** Reads a buffer. Bytes that are not UTF-8 become U+FFFD. */
export function readBytes(buffer: Buffer): Bytes {
  return (isUtf8(buffer) ? buffer : Buffer.from(buffer.toString())).toString('latin1') as Bytes;
}

/** Where the last character of a buffer begins, if bytes of it are missing; else where the buffer ends. */
export function utf8Boundary(buffer: Buffer): number {
  const { length } = buffer;
  for (let start = length - 1; start >= Math.max(length - 3, 0); start -= 1) {
    const byte = buffer[start] as number;
    if (byte < 0x80) break;
    // The first byte of a character of two, three or four bytes; all before it continue one.
    if (byte >= 0xc0) return start + (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > length ? start : length;
  }
  return length;
}
