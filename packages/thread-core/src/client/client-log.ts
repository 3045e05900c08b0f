import type { Logger } from '../logger.js';

/** The most warnings that are logged and remembered: an endpoint function may produce any number of addresses. */
const MAX_WARNINGS = 1000;

/** The client's log. */
export class ClientLog {
  readonly #logger: Logger;
  readonly #logged = new Set<string>();

  /** `logger` must not throw. */
  constructor(logger: Logger) {
    this.#logger = logger;
  }

  error(about: object, message: string): void {
    this.#logger.error(about, message);
  }

  /** Logs a warning once for each address. */
  warnOnce(address: string, about: object, message: string): void {
    const key = `${address} ${message}`;
    if (this.#logged.has(key) || this.#logged.size >= MAX_WARNINGS) return;
    this.#logged.add(key);
    this.#logger.warn({ address, ...about }, message);
  }
}
