import { isUtf8 } from 'node:buffer';

declare const kind: unique symbol;

/**
 * Bytes of UTF-8 as a string, one character for each: what Node calls `latin1`. What only passes through is cut and joined
 * like any other string, and never decoded and encoded again, which takes several times as long as all the rest.
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
 * The same text in one piece. V8 keeps the pieces of one that was put together until something reads it, and copies each of
 * them wherever the text is a part of others: that costs more than once to put together what is written many times.
 */
export function whole(text: Bytes): Bytes {
  NOT_ASCII.test(text);
  return text;
}

/** Of a buffer. What is no UTF-8 in it becomes U+FFFD. */
export function readBytes(buffer: Buffer): Bytes {
  return (isUtf8(buffer) ? buffer : Buffer.from(buffer.toString())).toString('latin1') as Bytes;
}

/** Where the last character of a buffer begins, if bytes of it are missing; else where the buffer ends. */
export function endOfWhole(buffer: Buffer): number {
  const { length } = buffer;
  for (let start = length - 1; start >= Math.max(length - 3, 0); start -= 1) {
    const byte = buffer[start] as number;
    if (byte < 0x80) break;
    // Not one that goes on, but one that begins a character of two, three or four bytes.
    if (byte >= 0xc0) return start + (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > length ? start : length;
  }
  return length;
}
