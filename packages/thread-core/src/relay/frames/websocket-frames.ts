import { type Bytes, flatten } from '../../bytes.js';

/** The first byte of an unmasked text frame with FIN set (RFC 6455, 5.2). */
const TEXT = 0x81;

/** Headers by the length of their frames. */
const headers: string[] = new Array(1024);

/** The header of a text frame of the relay. */
export function headerOf({ length }: Bytes): string {
  if (length >= headers.length) return makeHeader(length);
  headers[length] ??= makeHeader(length);
  return headers[length];
}

function makeHeader(length: number): string {
  if (length < 126) return String.fromCharCode(TEXT, length);
  if (length <= 0xffff) return String.fromCharCode(TEXT, 126, length >> 8, length & 0xff);
  const size = Buffer.alloc(8);
  size.writeBigUInt64BE(BigInt(length));
  return `${String.fromCharCode(TEXT, 127)}${size.toString('latin1')}`;
}

/** Where the payload of a frame begins and ends, whose header begins at `start`. */
function boundsOf(text: string, start: number): { payload: number; end: number } {
  const short = text.charCodeAt(start + 1);
  if (short < 126) return { payload: start + 2, end: start + 2 + short };
  const payload = start + (short === 126 ? 4 : 10);
  let length = 0;
  for (let at = start + 2; at < payload; at += 1) length = length * 256 + text.charCodeAt(at);
  return { payload, end: payload + length };
}

/** The frames of a text in which each has its header before it. */
export function splitFrames(text: string): Bytes[] {
  const frames: Bytes[] = [];
  for (let start = 0; start < text.length; ) {
    const { payload, end } = boundsOf(text, start);
    frames.push(text.slice(payload, end) as Bytes);
    start = end;
  }
  return frames;
}

/** Skips the first frames of such a text. `bytes`: their size without headers. */
export function skipFrames(text: string, count: number): { rest: string; bytes: number } {
  let start = 0;
  let bytes = 0;
  for (let skipped = 0; skipped < count; skipped += 1) {
    const { payload, end } = boundsOf(text, start);
    bytes += end - payload;
    start = end;
  }
  // Joined from two pieces, so that it is copied: a slice would keep the whole text in memory.
  return { rest: flatten(text.slice(start, start + 1) + text.slice(start + 1)), bytes };
}
