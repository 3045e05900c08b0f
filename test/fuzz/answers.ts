import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import type { Random } from '@arc/test-client';
import { mutate, spoil, write } from './json.js';

const part = { type: 'TextPart', content: 'hello' };

function envelope(random: Random, chatId: string): unknown {
  const ids = { arc: '1.0', id: 1, responseAgent: 'a', targetAgent: 'b' };
  const chat = { chatId, status: 'ACTIVE', message: { role: 'agent', parts: [part], n: 2 ** 40 } };
  if (random.chance(0.7)) return { ...ids, result: { type: 'chat', chat }, error: null };
  const code = random.pick([-32_603, -43_001, -44_004, -44_007, -41_002, -50_000, 7]);
  return { ...ids, result: null, error: { code, message: 'no', details: { chatId } } };
}

function json(random: Random, chatId: string): string {
  let value = envelope(random, chatId);
  if (random.chance(0.8)) value = mutate(random, value);
  const text = random.chance(0.02) ? write(envelope(random, chatId)).replace('"hello"', heavy(random)) : write(value);
  return random.chance(0.25) ? spoil(random, text) : text;
}

function events(random: Random, chatId: string): string {
  const end = random.pick(['\n', '\n', '\r\n', '\r']);
  let text = random.chance(0.1) ? '\ufeff' : '';
  for (let left = random.below(6); left > 0; left--) {
    const name = random.pick([
      'stream',
      'content',
      'metadata',
      'message',
      'progress',
      'error',
      'done',
      '',
      'x y',
      '__proto__',
    ]);
    let data: unknown = { chatId, message: { role: 'agent', parts: [part] } };
    if (random.chance(0.5)) data = mutate(random, data);
    if (random.chance(0.02)) {
      text += `event: ${name}${end}data: ${heavy(random)}${end}${end}`;
      continue;
    }
    if (random.chance(0.02)) text += `data: [DONE]${end}${end}`;
    const field = random.pick(['data: ', 'data:', 'data', ': ', 'id: ', 'retry: ', 'data:  ']);
    text += `event: ${name}${end}${field}${write(data)}${end}${random.chance(0.95) ? end : ''}`;
  }
  if (random.chance(0.7))
    text += `event: done${end}data: ${random.chance(0.8) ? write({ chatId, done: true }) : ''}${end}${end}`;
  return random.chance(0.3) ? spoil(random, text) : text;
}

/** JSON that is expensive to recognise by a pattern: many values, deep, or long. */
function heavy(random: Random): string {
  const size = 1 + random.below(3000);
  return random.pick([
    () => JSON.stringify(new Array(size).fill(0)),
    () => JSON.stringify(Array.from({ length: size }, (_, at) => `${at}`)),
    () => JSON.stringify(Object.fromEntries(Array.from({ length: size }, (_, at) => [`k${at}`, at]))),
    () => '['.repeat(size) + ']'.repeat(size),
    () => JSON.stringify('x"\\'.repeat(size * 10)),
    () => `[${'NaN,-Infinity,'.repeat(size)}1]`,
  ])();
}

const TYPES = [
  'application/arc+json',
  'application/json',
  'text/event-stream',
  'text/event-stream; charset=utf-8',
  'text/html',
  '',
];
const ENCODINGS: readonly [name: string, compress: (body: Buffer) => Buffer][] = [
  ['gzip', gzipSync],
  ['deflate', deflateSync],
  ['br', brotliCompressSync],
];
const STATUS = [200, 200, 200, 200, 201, 204, 304, 400, 401, 404, 429, 500, 502, 503, 999];

/** The bytes of a whole HTTP answer, in the pieces in which they are sent; the connection is closed after them. */
export function answer(random: Random, chatId: string, stream: boolean): Buffer[] {
  const isStream = random.chance(0.9) ? stream : !stream;
  let body: Buffer = Buffer.from(isStream ? events(random, chatId) : json(random, chatId));
  // Bytes that are no UTF-8, or the half of a character.
  if (random.chance(0.15))
    body = Buffer.concat([body.subarray(0, random.below(body.length + 1)), random.bytes(3), body]);
  const type = random.chance(0.85) ? (isStream ? 'text/event-stream' : 'application/arc+json') : random.pick(TYPES);
  const status = random.chance(0.85) ? 200 : random.pick(STATUS);
  const framing = random.below(5);
  const head = [`HTTP/1.1 ${status} X`, `content-type: ${type}`, 'connection: close'];
  if (framing < 2) head.push(`content-length: ${random.chance(0.9) ? body.length : random.below(500)}`);
  else if (framing < 4) head.push('transfer-encoding: chunked');
  if (random.chance(0.03))
    head.push(random.pick(['x', ': y', 'content-length: -1', 'content-encoding: gzip', `x: ${'y'.repeat(20_000)}`]));
  if (random.chance(0.05)) {
    const [encoding, compress] = random.pick(ENCODINGS);
    head.push(`content-encoding: ${encoding}`);
    if (random.chance(0.9)) body = compress(body);
    if (random.chance(0.2)) body = body.subarray(0, random.below(body.length + 1));
    // The length that was announced is that of the other body.
    if (framing < 2) head.splice(3, 1, `content-length: ${body.length}`);
  }
  if (framing === 2 || framing === 3) body = chunked(random, body);
  const bytes = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
  return pieces(random, random.chance(0.03) ? Buffer.from(spoil(random, bytes.toString('latin1')), 'latin1') : bytes);
}

function chunked(random: Random, body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const part = body.subarray(at, at + 1 + random.below(random.pick([2, 30, 400])));
    const size = random.chance(0.995) ? part.length.toString(16) : random.pick(['', 'g', '-1', 'ffffffffffff']);
    parts.push(Buffer.from(`${size}\r\n`), part, Buffer.from('\r\n'));
    at += part.length;
  }
  if (random.chance(0.95)) parts.push(Buffer.from('0\r\n\r\n'));
  return Buffer.concat(parts);
}

function pieces(random: Random, bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  const most = random.chance(0.5) ? bytes.length : random.pick([40, 150, 600]);
  for (let at = 0; at < bytes.length && parts.length < 12; at += most) parts.push(bytes.subarray(at, at + most));
  return parts;
}
