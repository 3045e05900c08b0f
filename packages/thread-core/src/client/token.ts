/** A bearer token, or a function that gives one: asked once, kept, and asked again when an agent refuses the token. */
export type Token = string | (() => string | Promise<string>);

/** Whether this can be sent as a token. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^[\x20-\x7e]+$/.test(value);
}

/** Keeps the current token. Calls that are refused at the same time share one refresh. */
export class TokenSource {
  readonly #ask: (() => string | Promise<string>) | undefined;
  #current: string | Promise<string> | undefined;

  constructor(token: Token | undefined) {
    if (typeof token === 'function') this.#ask = token;
    else this.#current = token;
  }

  /** The token to send, or a promise of it where the function has to be asked first. */
  get(): string | Promise<string> | undefined {
    return this.#current ?? (this.#ask === undefined ? undefined : this.#renew(this.#ask));
  }

  /** A newer token than the one that was refused; undefined where there can be none. */
  refresh(refused: string | undefined): string | Promise<string> | undefined {
    if (this.#ask === undefined) return undefined;
    return this.#current === refused ? this.#renew(this.#ask) : this.get();
  }

  #renew(ask: () => string | Promise<string>): Promise<string> {
    const asked = Promise.resolve()
      .then(ask)
      .then((token) => {
        if (!isToken(token)) throw new TypeError('token: the function must give a string that can be sent in a header');
        this.#current = token;
        return token;
      });
    this.#current = asked;
    // Whoever waits for it hears why; the next call asks again.
    asked.catch(() => {
      this.#current = undefined;
    });
    return asked;
  }
}
