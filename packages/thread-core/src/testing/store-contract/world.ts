import { strict as assert } from 'node:assert';
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type {
  ClaimResult,
  Ownership,
  ReapedSession,
  ReapOptions,
  SessionMeta,
  SessionState,
  SessionStore,
  StoreNode,
} from '../../relay/store/session-store.js';

/** A test runner's `test`. */
export type StoreContractTest = (title: string, body: () => Promise<void>) => unknown;

/** The store that is tested. */
export interface StoreHarness {
  /** A handle on the data, as another process would have one. All handles share the data. */
  connect(): Promise<SessionStore>;
  /** Removes all data; called before each test. */
  reset(): Promise<void>;
  /** Loses all data under the feet of the nodes, as FLUSHALL does. */
  lose(): Promise<void>;
  /** Closes a handle that `connect` gave. */
  disconnect?(store: SessionStore): Promise<void>;
}

export type Part = (test: (title: string, body: (world: World) => Promise<void>) => void) => void;

/** A lease, or grace, that does not end during a test. */
export const LONG = 60_000;
/** One that has ended by the time that the test asks again. */
export const SHORT = 20;

const SECRET = 'the secret';
/** Milliseconds after which a test stops waiting for an event. */
const WAIT_LIMIT_MS = 10_000;

export class World {
  readonly #harness: StoreHarness;
  readonly #stores: SessionStore[];
  readonly a: Peer;
  readonly b: Peer;
  readonly c: Peer;

  static async begin(harness: StoreHarness): Promise<World> {
    await harness.reset();
    const stores = [await harness.connect(), await harness.connect(), await harness.connect()] as const;
    const world = new World(harness, stores);
    // Data that is new counts as lost until the first lease is over: this one is.
    await stores[0].join({ name: 'first', incarnation: randomUUID(), lease: 1 });
    await until(
      () => world.c.claim('none'),
      (result) => result.state === 'unknown',
    );
    return world;
  }

  constructor(harness: StoreHarness, stores: readonly [SessionStore, SessionStore, SessionStore]) {
    this.#harness = harness;
    this.#stores = [...stores];
    const [a, b, c] = stores.map((store, at) => new Peer(store, `node-${'abc'[at]}`));
    this.a = a as Peer;
    this.b = b as Peer;
    this.c = c as Peer;
  }

  lose(): Promise<void> {
    return this.#harness.lose();
  }

  async end(): Promise<void> {
    for (const store of this.#stores) await this.#harness.disconnect?.(store);
  }
}

/** A node of the cluster under test. */
export class Peer {
  readonly store: SessionStore;
  readonly name: string;
  incarnation: string = randomUUID();

  constructor(store: SessionStore, name: string) {
    this.store = store;
    this.name = name;
  }

  node(lease = LONG): StoreNode {
    return { name: this.name, incarnation: this.incarnation, lease };
  }

  /** The same name in a new process. */
  restarted(): Peer {
    return new Peer(this.store, this.name);
  }

  async join(lease = LONG): Promise<this> {
    await this.store.join(this.node(lease));
    return this;
  }

  /** Opens a session that can be resumed. */
  open(sid: string, meta: Partial<SessionMeta> = {}): Promise<Ownership> {
    return this.store.open(this.node(), {
      ...{ sid, secretHash: hash(SECRET), identityKey: 'ann', identity: { name: 'Ann' }, grace: LONG },
      ...meta,
    });
  }

  claim(sid: string, secret = SECRET, identityKey = 'ann'): Promise<ClaimResult> {
    return this.store.claim(this.node(), sid, hash(secret), identityKey);
  }

  /** Claims a session as soon as its owner is dead. */
  async claimLater(sid: string): Promise<Extract<ClaimResult, { state: 'claimed' }>> {
    const result = await until(
      () => this.claim(sid),
      ({ state }) => state !== 'busy',
    );
    assert.equal(result.state, 'claimed');
    return result as Extract<ClaimResult, { state: 'claimed' }>;
  }

  reap(options: Partial<ReapOptions> = {}): Promise<ReapedSession[]> {
    return this.store.reap(this.node(), { limit: 100, takeoverAfter: LONG, ...options });
  }

  /** Reaps as soon as there is something to reap. */
  reapLater(options?: Partial<ReapOptions>): Promise<ReapedSession[]> {
    return until(
      () => this.reap(options),
      (reaped) => reaped.length > 0,
    );
  }
}

function hash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

export function state(change: Partial<SessionState> = {}): SessionState {
  return {
    ...{ seq: 0, got: 0, pending: [], threads: {}, waiting: [], journal: { firstSeq: 1, frames: [] } },
    ...change,
  };
}

/** Asks again until the answer is right. */
export async function until<T>(ask: () => Promise<T>, isRight: (answer: T) => boolean): Promise<T> {
  const end = performance.now() + WAIT_LIMIT_MS;
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    if (performance.now() > end) throw new Error(`Still ${JSON.stringify(answer)} after ${WAIT_LIMIT_MS} ms`);
    await delay(5);
  }
}

export async function fenced(attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, { name: 'FencedError', code: 'fenced' });
}

/** Nothing that an owner may do is possible any more. */
export async function isFencedOff(store: SessionStore, owned: Ownership, otherNode: string): Promise<void> {
  await fenced(store.thread(owned, 'late', { agentId: 'late', chatId: 'late' }));
  await fenced(store.thread(owned, 'late', null));
  await fenced(store.append(owned, { firstSeq: 100, frames: ['{"late":true}'] }));
  await fenced(store.handover(owned, otherNode, state()));
  await fenced(store.expire(owned, LONG));
  await fenced(store.close(owned));
}
