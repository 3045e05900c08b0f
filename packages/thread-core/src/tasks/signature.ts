import { createHmac, timingSafeEqual } from 'node:crypto';

/** The header of a signed notification: `sha256=` and the HMAC in base64. */
export const SIGNATURE_HEADER = 'x-arc-signature';

const PREFIX = 'sha256=';

/**
 * Whether one of the secrets has signed the body, compared in constant time. The Python SDK signs what `json.dumps`
 * makes of the notification, and sends what its HTTP client makes of it, which can be another text: so both are tried.
 */
export function isSigned(body: string, signature: unknown, secrets: readonly string[]): boolean {
  if (typeof signature !== 'string' || !signature.startsWith(PREFIX)) return false;
  const given = Buffer.from(signature.slice(PREFIX.length), 'base64');
  const texts = [Buffer.from(body), toPythonJson(body)];
  let isRight = false;
  for (const secret of secrets) {
    for (const text of texts) {
      const expected = createHmac('sha256', secret).update(text).digest();
      // All are compared, so that the time does not tell which one is right.
      if (given.length === expected.length && timingSafeEqual(given, expected)) isRight = true;
    }
  }
  return isRight;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const SPACE = 0x20;
const TILDE = 0x7e;
const HEX = Buffer.from('0123456789abcdef');

/** The most bytes that one code unit of a text becomes: `\uXXXX`. */
const MAX_UNIT_BYTES = 6;

/**
 * A JSON text as Python's `json.dumps` spaces and escapes it: `{"a": [1, 2]}`, and ASCII only. Bytes are written one by
 * one, because anybody can post a long text, and no other request is served meanwhile.
 */
export function toPythonJson(json: string): Buffer {
  const out = Buffer.allocUnsafe(json.length * MAX_UNIT_BYTES);
  let end = 0;
  let isString = false;
  for (let at = 0; at < json.length; at++) {
    const unit = json.charCodeAt(at);
    if (isString) {
      end = writeUnit(out, end, unit);
      if (unit === QUOTE) isString = false;
      else if (unit === BACKSLASH && at + 1 < json.length) end = writeUnit(out, end, json.charCodeAt(++at));
    } else if (unit > SPACE) {
      // White space between values is left out.
      end = writeUnit(out, end, unit);
      if (unit === QUOTE) isString = true;
      else if (unit === COMMA || unit === COLON) out[end++] = SPACE;
    }
  }
  return out.subarray(0, end);
}

/** Writes a code unit, escaped if it is not printable ASCII. Returns where the next one is written. */
function writeUnit(out: Buffer, start: number, unit: number): number {
  let end = start;
  if (unit >= SPACE && unit <= TILDE) {
    out[end++] = unit;
    return end;
  }
  out[end++] = BACKSLASH;
  out[end++] = 0x75;
  for (let shift = 12; shift >= 0; shift -= 4) out[end++] = HEX[(unit >> shift) & 15] as number;
  return end;
}
