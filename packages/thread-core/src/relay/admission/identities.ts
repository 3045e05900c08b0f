import type { Logger } from '../../logger.js';
import { rejectPromise } from '../../values.js';
import type { JsonValue } from '../store/session-store.js';
import { ANONYMOUS, type IdentityOptions, identityKeyOf } from './identity.js';

/** Calls the application's functions for identities, and logs what they throw. */
export class Identities {
  readonly #options: IdentityOptions | undefined;
  readonly #logger: Logger;
  #hasWarned = false;

  constructor(options: IdentityOptions | undefined, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
  }

  /** Undefined if the identity has no key, or if `identity.key` throws. */
  keyOf(identity: unknown): string | undefined {
    try {
      return identityKeyOf(identity, this.#options);
    } catch (err) {
      this.#logger.error({ err }, 'identity.key threw');
      return undefined;
    }
  }

  /** The key that only the same identity resumes a session with. Undefined if it cannot be told apart from others. */
  resumeKeyOf(identity: unknown): string | undefined {
    if (identity === undefined) return ANONYMOUS;
    const key = this.keyOf(identity);
    if (key !== undefined && key !== ANONYMOUS) return key;
    if (!this.#hasWarned) {
      this.#hasWarned = true;
      this.#logger.warn({}, 'sessions of identities without id or sub cannot be resumed: set identity.key');
    }
    return undefined;
  }

  /** @throws what `identity.save` throws, and a TypeError if it is async, as an empty object would be stored, or gives no JSON */
  save(identity: unknown): JsonValue | undefined {
    try {
      const saved = rejectPromise(this.#options?.save?.(identity), 'identity.save');
      // What only the store finds out would count as its failure, and keep the node from renewing its lease. A copy, because what is
      // right now may not be when it is stored again.
      return saved === undefined ? undefined : (JSON.parse(JSON.stringify(saved)) as JsonValue);
    } catch (err) {
      this.#logger.error({ err }, 'identity.save threw');
      throw err;
    }
  }
}
