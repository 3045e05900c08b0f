import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** What `ready.session` carries: the id by which the session is found, and the secret that proves its owner. */
export interface SessionToken {
  readonly sid: string;
  readonly secret: string;
}

/** 192 random bits. */
export function makeSecret(): string {
  return randomBytes(24).toString('base64url');
}

export function writeToken({ sid, secret }: SessionToken): string {
  return `${sid}.${secret}`;
}

/** Undefined if it is not a token. */
export function readToken(token: string): SessionToken | undefined {
  const dot = token.indexOf('.');
  return dot === -1 ? undefined : { sid: token.slice(0, dot), secret: token.slice(dot + 1) };
}

/** SHA-256 in hexadecimal: all that is kept of a secret. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** Compares in a time that does not depend on the values. */
export function isSecret(secret: string, hash: string): boolean {
  const given = createHash('sha256').update(secret).digest();
  const expected = Buffer.from(hash, 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}
