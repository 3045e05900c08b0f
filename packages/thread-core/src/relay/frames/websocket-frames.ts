import type { Bytes } from '../../bytes.js';

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

/** The frames of a text in which each has its header before it. */
export function splitFrames(text: string): Bytes[] {
  const frames: Bytes[] = [];
  for (let start = 0; start < text.length; ) {
    const short = text.charCodeAt(start + 1);
    const payload = start + (short < 126 ? 2 : short === 126 ? 4 : 10);
    let length = short;
    if (short >= 126) {
      length = 0;
      for (let at = start + 2; at < payload; at += 1) length = length * 256 + text.charCodeAt(at);
    }
    start = payload + length;
    frames.push(text.slice(payload, start) as Bytes);
  }
  return frames;
}
