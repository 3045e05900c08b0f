import type { Callback } from '../../hooks.js';
import { withTimeout } from '../../timers.js';
import { rejectPromise } from '../../values.js';
import type { JsonValue } from '../store/session-store.js';

/** How identities are distinguished, and stored in a cluster. */
export interface IdentityOptions<Identity = unknown> {
  /**
   * Names a user: two identities with the same key are one. Default: an identity that is a string or a number itself,
   * else its `id` or `sub`. Undefined: such identities cannot be distinguished. Numbers, and objects with a `toString` of
   * their own, are used as text; anything else is an error in the log, and such an identity has no key.
   */
  key?: Callback<[identity: Identity], string | undefined> | undefined;
  /** Makes JSON of an identity, for the store of a cluster. Do not include tokens. Default: identities are not stored. */
  save?: Callback<[identity: Identity], JsonValue> | undefined;
  /**
   * Makes an identity of what `save` returned, on another node: `sessionToken` is called with it. Default: it is undefined
   * there.
   */
  load?: Callback<[saved: JsonValue], Identity | Promise<Identity>> | undefined;
}

/** The key of clients that are not authenticated: all of them are one identity. */
export const ANONYMOUS = '';

/**
 * The key of an identity; undefined if it has none.
 * @throws whatever `key` throws, and a TypeError if it is async, or returns what is no name: all users would have the same key
 */
export function identityKeyOf(identity: unknown, { key = defaultKey }: IdentityOptions = {}): string | undefined {
  const found: unknown = rejectPromise(key(identity), 'identity.key');
  return found === undefined || found === null ? undefined : nameOf(found);
}

const NAME_TYPES = ['string', 'number', 'bigint'];

/** @throws TypeError for what is the same text for different users, such as an object without a `toString` of its own */
function nameOf(found: unknown): string {
  const text = String(found);
  const isName = typeof found === 'object' ? !text.includes('[object ') : NAME_TYPES.includes(typeof found);
  if (isName && !Number.isNaN(found)) return text;
  throw new TypeError('identity.key: must return a string or a number, or an object with a toString of its own');
}

/**
 * What `identity.load` makes of a saved identity. `timeout`: milliseconds; 0: none.
 * @throws whatever `load` throws, and an Error if it takes too long
 */
export async function loadIdentity(
  saved: JsonValue | undefined,
  { load }: IdentityOptions = {},
  timeout = 0,
): Promise<unknown> {
  if (saved === undefined || load === undefined) return undefined;
  const loading = Promise.resolve(load(saved)).then((identity) => ({ identity }));
  const loaded = timeout === 0 ? await loading : await withTimeout(loading, timeout);
  if (loaded === undefined) throw new Error(`identity.load took longer than ${timeout} ms`);
  return loaded.identity;
}

function defaultKey(identity: unknown): string | undefined {
  if (isKey(identity)) return String(identity);
  const { id, sub } = Object(identity) as { id?: unknown; sub?: unknown };
  if (isKey(id)) return String(id);
  return isKey(sub) ? String(sub) : undefined;
}

function isKey(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}
