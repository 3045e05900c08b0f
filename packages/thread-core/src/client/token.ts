import { type ArcError, TokenExpiredError, TokenInvalidError } from '../protocol/errors.js';

/** A bearer token, or a function that gives one: asked once, kept, and asked again when an agent rejects the token. */
export type Token = string | (() => string | Promise<string>);

/** Whether this can be sent as a token. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x20-\x7e]+$/.test(value);
}

/** Whether an agent's error says that the token is not, or no longer, valid. */
export function isTokenRejected(error: ArcError): boolean {
  return error.code === TokenExpiredError.code || error.code === TokenInvalidError.code;
}

/** If a token function has not answered for this many milliseconds, the next call calls it again. */
const SHARED_FOR_MS = 10_000;

/** A token that is younger than this, in milliseconds, is not replaced: what rejects it is about something else. */
const NEW_FOR_MS = 2000;

/**
 * Keeps the current token. Calls whose token is rejected at the same time share one refresh. Until it has a result all others use
 * the token that was rejected: one client may have an agent reject it that accepts it for everybody else.
 */
export class TokenSource {
  readonly #ask: (() => string | Promise<string>) | undefined;
  readonly #sharedFor: number;
  readonly #newFor: number;
  #token: string | undefined;
  /** Which of the function's results the token is, and when it replaced another one. */
  #number = 0;
  #replacedAt = Number.NEGATIVE_INFINITY;
  /** The function's latest result, until it settles, and its number. */
  #asked: Promise<string> | undefined;
  #askedNumber = 0;
  #askedAt = 0;

  constructor(token: Token | undefined, sharedFor = SHARED_FOR_MS, newFor = NEW_FOR_MS) {
    if (typeof token === 'function') this.#ask = token;
    else this.#token = token;
    this.#sharedFor = sharedFor;
    this.#newFor = newFor;
  }

  /** The token to send, or a promise of it if the function has to be called first. */
  get(): string | Promise<string> | undefined {
    return this.#token ?? (this.#ask && this.#request(this.#ask));
  }

  /** A newer token than the one that was rejected; undefined if there can be none. */
  refresh(rejected: string | undefined): string | Promise<string> | undefined {
    if (this.#ask === undefined) return undefined;
    if (this.#token !== undefined && this.#token !== rejected) return this.#token;
    if (performance.now() - this.#replacedAt < this.#newFor) return undefined;
    return this.#request(this.#ask);
  }

  #request(ask: () => string | Promise<string>): Promise<string> {
    const isShared = performance.now() - this.#askedAt < this.#sharedFor;
    return this.#asked !== undefined && isShared ? this.#asked : this.#renew(ask);
  }

  #renew(ask: () => string | Promise<string>): Promise<string> {
    this.#askedNumber += 1;
    const number = this.#askedNumber;
    const asked = Promise.resolve()
      .then(ask)
      .then((token) => {
        if (!isToken(token))
          throw new TypeError('token or sessionToken: the function must return a string that can be sent in a header');
        this.#replace(token, number);
        return token;
      });
    this.#asked = asked;
    this.#askedAt = performance.now();
    // If it fails, those who wait get the error, and the next call asks again.
    const forget = (): void => {
      if (this.#asked === asked) this.#asked = undefined;
    };
    asked.then(forget, forget);
    return asked;
  }

  #replace(token: string, number: number): void {
    // The result of a later call is newer.
    if (number < this.#number) return;
    this.#number = number;
    if (this.#token !== undefined && this.#token !== token) this.#replacedAt = performance.now();
    this.#token = token;
  }
}
