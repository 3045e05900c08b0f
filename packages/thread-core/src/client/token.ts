import { type ArcError, TokenExpiredError, TokenInvalidError } from '../protocol/errors.js';

/** A bearer token, or a function that gives one: asked once, kept, and asked again when an agent refuses the token. */
export type Token = string | (() => string | Promise<string>);

/** Whether this can be sent as a token. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x20-\x7e]+$/.test(value);
}

/** Whether an agent's error says that the token is not, or no longer, valid. */
export function isTokenRefused(error: ArcError): boolean {
  return error.code === TokenExpiredError.code || error.code === TokenInvalidError.code;
}

/** If a token function has not answered for this many milliseconds, the next call calls it again. */
const SHARED_FOR_MS = 10_000;

/** Keeps the current token. Calls that are refused at the same time share one refresh. */
export class TokenSource {
  readonly #ask: (() => string | Promise<string>) | undefined;
  readonly #sharedFor: number;
  #token: string | undefined;
  /** The function's latest result, until it settles. */
  #asked: Promise<string> | undefined;
  #askedAt = 0;

  constructor(token: Token | undefined, sharedFor = SHARED_FOR_MS) {
    if (typeof token === 'function') this.#ask = token;
    else this.#token = token;
    this.#sharedFor = sharedFor;
  }

  /** The token to send, or a promise of it if the function has to be called first. */
  get(): string | Promise<string> | undefined {
    if (this.#token !== undefined || this.#ask === undefined) return this.#token;
    const isShared = this.#asked !== undefined && performance.now() - this.#askedAt < this.#sharedFor;
    return isShared ? this.#asked : this.#renew(this.#ask);
  }

  /** A newer token than the one that was refused; undefined if there can be none. */
  refresh(refused: string | undefined): string | Promise<string> | undefined {
    if (this.#ask === undefined) return undefined;
    if (this.#token === refused) this.#token = undefined;
    return this.get();
  }

  #renew(ask: () => string | Promise<string>): Promise<string> {
    const asked = Promise.resolve()
      .then(ask)
      .then((token) => {
        if (!isToken(token))
          throw new TypeError('token or sessionToken: the function must return a string that can be sent in a header');
        // A token of an earlier call is used only if there is none of a later one.
        if (this.#asked === asked || this.#token === undefined) this.#token = token;
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
}
