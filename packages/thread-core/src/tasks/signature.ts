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
  let isRight = false;
  for (const secret of secrets) {
    for (const text of [body, toPythonJson(body)]) {
      const expected = createHmac('sha256', secret).update(text).digest();
      // All are compared, so that the time does not tell which one is right.
      if (given.length === expected.length && timingSafeEqual(given, expected)) isRight = true;
    }
  }
  return isRight;
}

/** A JSON text as Python's `json.dumps` spaces and escapes it: `{"a": [1, 2]}`, and ASCII only. */
function toPythonJson(json: string): string {
  let out = '';
  let isString = false;
  for (let at = 0; at < json.length; at++) {
    const character = json.charAt(at);
    if (isString) {
      out += character >= ' ' && character <= '~' ? character : escapeUnit(character);
      if (character === '\\') out += json.charAt(++at);
      else if (character === '"') isString = false;
    } else if (character === '"') {
      isString = true;
      out += character;
    } else if (character === ',' || character === ':') {
      out += `${character} `;
    } else if (!/\s/.test(character)) {
      out += character;
    }
  }
  return out;
}

function escapeUnit(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
