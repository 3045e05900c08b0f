import { randomUUID } from 'node:crypto';
import type { IdentityOptions } from '../admission/identity.js';
import type { SessionStore } from '../store/session-store.js';

/** Several relays that share a store, so that conversations and their chats outlive one of them. */
export interface ClusterOptions {
  /** Where the nodes register what they have: `redisStore(client)` of `@arc/thread-redis`, or `memoryStore()`. */
  store: SessionStore;
  /** This process, unique in the cluster. A process that takes another one's name fences it off. Default: random. */
  node?: string | undefined;
  /** Milliseconds after which a node that did not renew counts as dead. It renews every third. Default 10,000. */
  lease?: number | undefined;
}

/** The options, with their defaults. */
export type ClusterConfig = Required<{ [Name in keyof ClusterOptions]: Exclude<ClusterOptions[Name], undefined> }>;

const DEFAULT_LEASE_MS = 10_000;
const MIN_LEASE_MS = 100;
const MAX_LEASE_MS = 600_000;

const STORE_METHODS = ['join', 'renew', 'open', 'thread', 'claim', 'reap', 'close', 'post', 'onPost'] as const;

/** Undefined if the value is right, else what is wrong with it. */
export function findClusterProblem(value: unknown): string | undefined {
  const { store, node, lease, ...others } = Object(value) as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) return `has no option ${unknown}`;
  const methods = Object(store) as Record<string, unknown>;
  if (!STORE_METHODS.every((name) => typeof methods[name] === 'function')) return 'needs a store, such as redisStore()';
  const isName = node === undefined || (typeof node === 'string' && node.length >= 1 && node.length <= 128);
  if (!isName) return 'node must have 1 to 128 characters';
  const isLease = lease === undefined || (typeof lease === 'number' && lease >= MIN_LEASE_MS && lease <= MAX_LEASE_MS);
  return isLease ? undefined : `lease must be milliseconds from ${MIN_LEASE_MS} to ${MAX_LEASE_MS}`;
}

/** Undefined if the value is right, else what is wrong with it. */
export function findIdentityProblem(value: unknown): string | undefined {
  const options = Object(value) as Record<string, unknown>;
  const isRight = Object.entries(options).every(
    ([name, option]) =>
      ['key', 'save', 'load'].includes(name) && (option === undefined || typeof option === 'function'),
  );
  return isRight && value === options ? undefined : 'must be an object of functions: key, save, load';
}

/** @throws TypeError if the reaper could not ask for the tokens of other nodes' sessions */
export function readCluster(
  options: ClusterOptions | undefined,
  identity: IdentityOptions | undefined,
  hasSessionToken: boolean,
): ClusterConfig | undefined {
  if (options === undefined) return undefined;
  if (hasSessionToken && (identity?.save === undefined || identity.load === undefined)) {
    throw new TypeError('cluster: with sessionToken needs identity.save and identity.load, to end chats of dead nodes');
  }
  return { store: options.store, node: options.node ?? randomUUID(), lease: options.lease ?? DEFAULT_LEASE_MS };
}
