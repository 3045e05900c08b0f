import { randomUUID } from 'node:crypto';
import {
  type ClaimResult,
  type JournalSlice,
  type JsonValue,
  type Ownership,
  type ReapedSession,
  type ReapOptions,
  type Renewal,
  type SessionMeta,
  type SessionPlace,
  type SessionState,
  type SessionStore,
  StoreError,
  type StoreNode,
} from '@arc/thread-core';
import { type Connection, type RedisClient, toConnection } from './connection.js';
import { isNoScript, toStoreError } from './errors.js';
import { InboxReader } from './inbox.js';
import { frames, keyField, readRecord, writeState, writeThreads } from './record.js';
import { type ScriptName, scripts } from './scripts/index.js';
import { checkServer } from './server.js';

/** Options of `redisStore`. */
export interface RedisStoreOptions {
  /** What the names of all keys begin with: one for each cluster of relays. Default `arc:`. */
  prefix?: string | undefined;
  /** Milliseconds for an answer of Redis, before the store counts as away. Default 2,000. */
  timeout?: number | undefined;
}

/** What one node's inbox holds at most. */
const MAX_INBOX_MESSAGES = 10_000;

/**
 * The store of a cluster in Redis 6.2 or newer, or Valkey: a primary, with Sentinel if you like, no Redis Cluster. The
 * client stays yours: it must be connected, have a listener for `error`, and is not closed by the store.
 * @throws TypeError if the client or an option is wrong
 */
export function redisStore(client: RedisClient, options: RedisStoreOptions = {}): SessionStore {
  return new RedisStore(client, options);
}

class RedisStore implements SessionStore {
  readonly #client: RedisClient;
  readonly #connection: Connection;
  readonly #prefix: string;
  readonly #timeout: number;

  constructor(client: RedisClient, { prefix = 'arc:', timeout = 2000 }: RedisStoreOptions) {
    if (typeof prefix !== 'string') throw new TypeError('prefix: must be a string');
    if (!(Number.isInteger(timeout) && timeout > 0)) throw new TypeError('timeout: must be a number of milliseconds');
    this.#connection = toConnection(client);
    this.#client = client;
    this.#prefix = prefix;
    this.#timeout = timeout;
  }

  async join(node: StoreNode): Promise<Renewal> {
    checkNode(node);
    checkServer(String(await this.#call('INFO')));
    return this.#renew(node, '1');
  }

  renew(node: StoreNode): Promise<Renewal> {
    return this.#renew(node, '');
  }

  async #renew(node: StoreNode, takesName: string): Promise<Renewal> {
    const reply = await this.#run('renew', node, String(node.lease), randomUUID(), takesName);
    const [sessions, fenced, lapsed, boot] = reply as [number, number, number, string];
    return { sessions, fenced: fenced === 1, lapsed: lapsed === 1, boot };
  }

  async leave(node: StoreNode): Promise<void> {
    await this.#run('leave', node);
  }

  async open(node: StoreNode, meta: SessionMeta): Promise<Ownership> {
    const { sid, epoch, boot = '', secretHash = '', identityKey, identity, grace } = meta;
    const { seq = 0, got = 0, pending = [], threads = {} } = meta;
    const written = [keyField(identityKey), identity === undefined ? '' : JSON.stringify(identity), String(grace)];
    const progress = [String(seq), String(got), JSON.stringify(pending)];
    const renewal = [randomUUID(), String(node.lease)];
    const opened = await this.#run(
      'open',
      node,
      ...[sid, epoch === undefined ? '' : String(epoch), boot, secretHash, ...written, ...progress, ...renewal],
      ...writeThreads(threads),
    );
    return { sid, epoch: Number(opened), node: node.name, incarnation: node.incarnation };
  }

  async thread(owned: Ownership, key: string, entry: SessionState['threads'][string] | null): Promise<void> {
    await this.#runOwned('thread', owned, key, entry === null ? '' : JSON.stringify(entry));
  }

  async append(owned: Ownership, slice: JournalSlice): Promise<void> {
    if (slice.frames.length > 0) await this.#runOwned('append', owned, String(slice.firstSeq), ...slice.frames);
  }

  async read(sid: string, afterSeq: number, limit = 1000): Promise<JournalSlice | undefined> {
    const key = `${this.#prefix}s:${sid}:f`;
    const entries = await this.#call('XRANGE', key, `${afterSeq + 1}-0`, '+', 'COUNT', String(limit));
    return frames(entries as [string, string[]][], afterSeq);
  }

  async trim(sid: string, seq: number): Promise<void> {
    await this.#call('XTRIM', `${this.#prefix}s:${sid}:f`, 'MINID', '=', `${seq + 1}-0`);
  }

  async park(owned: Ownership, state: SessionState): Promise<void> {
    await this.#runOwned('park', owned, ...writeState(state));
  }

  async handover(owned: Ownership, to: string, state: SessionState): Promise<boolean> {
    return (await this.#runOwned('handover', owned, to, ...writeState(state))) === 1;
  }

  async claim(node: StoreNode, sid: string, secretHash: string, identityKey: string | undefined): Promise<ClaimResult> {
    const given = [sid, secretHash, keyField(identityKey), randomUUID(), String(node.lease)];
    const [state, first, second] = (await this.#run('claim', node, ...given)) as [string, unknown, number];
    if (state === 'claimed') return { state, ...readRecord(sid, first as string[]) };
    if (state === 'busy') return { state, owner: (first as string) || undefined, retryAfter: second };
    return { state: state as 'unknown' | 'forbidden' | 'expired' };
  }

  async expire(owned: Ownership, takeoverAfter: number): Promise<void> {
    await this.#runOwned('expire', owned, String(takeoverAfter));
  }

  async reap(node: StoreNode, { limit, takeoverAfter }: ReapOptions): Promise<ReapedSession[]> {
    const given = [String(limit), String(takeoverAfter), randomUUID(), String(node.lease)];
    const records = (await this.#run('reap', node, ...given)) as string[][];
    return records.map((record) => readRecord(undefined, record));
  }

  async reapOne(node: StoreNode, sid: string, takeoverAfter: number): Promise<ReapedSession | undefined> {
    const given = [sid, String(takeoverAfter), randomUUID(), String(node.lease)];
    const record = (await this.#run('reapOne', node, ...given)) as string[];
    return record.length === 0 ? undefined : readRecord(sid, record);
  }

  async close({ sid, epoch, node, incarnation }: Ownership): Promise<void> {
    await this.#run('close', { name: node, incarnation }, sid, String(epoch));
  }

  async nodes(): Promise<string[]> {
    return (await this.#run('nodes', NOBODY)) as string[];
  }

  async sessionsOn(node: StoreNode): Promise<string[]> {
    return (await this.#run('sessionsOn', node)) as string[];
  }

  async sessionsOf(identityKey: string): Promise<SessionPlace[]> {
    const found = (await this.#run('sessionsOfIdentity', NOBODY, keyField(identityKey))) as string[];
    const places: SessionPlace[] = [];
    for (let at = 0; at < found.length; at += 2) {
      places.push({ sid: found[at] as string, owner: found[at + 1] || undefined });
    }
    return places;
  }

  async post(to: string, message: JsonValue): Promise<boolean> {
    return (await this.#run('post', NOBODY, to, JSON.stringify(message), String(MAX_INBOX_MESSAGES))) === 1;
  }

  async onPost(node: StoreNode, listener: (message: JsonValue) => void): Promise<() => Promise<void>> {
    await this.#run('current', node);
    const key = `${this.#prefix}in:${node.incarnation}:${node.name}`;
    const reader = new InboxReader(this.#client, this.#connection, key, listener);
    return () => reader.stop();
  }

  #runOwned(name: ScriptName, { sid, epoch, node, incarnation }: Ownership, ...args: string[]): Promise<unknown> {
    return this.#run(name, { name: node, incarnation }, sid, String(epoch), ...args);
  }

  async #run(name: ScriptName, node: Pick<StoreNode, 'name' | 'incarnation'>, ...args: string[]): Promise<unknown> {
    const { source, sha1 } = scripts[name];
    const given = ['1', this.#prefix, node.name, node.incarnation, ...args];
    try {
      return await this.#call('EVALSHA', sha1, ...given);
    } catch (error) {
      if (!isNoScript(Object(error).cause)) throw error;
      return this.#call('EVAL', source, ...given);
    }
  }

  /**
   * A client may queue a command for as long as Redis is away, so each command has a time-out here. It leaves the queue then:
   * otherwise the queue grows, and the client's `close()` waits for it.
   */
  async #call(...args: string[]): Promise<unknown> {
    const queued = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new StoreError('away', `Redis did not answer within ${this.#timeout} ms`));
        queued.abort();
      }, this.#timeout);
    });
    try {
      return await Promise.race([this.#connection.call(args, queued.signal), late]);
    } catch (error) {
      throw toStoreError(error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The caller of scripts that ask for none. */
const NOBODY = { name: '', incarnation: '' };

function checkNode({ name, incarnation }: StoreNode): void {
  if (name === '' || name.length > 128) throw new TypeError('node.name: must have 1 to 128 characters');
  if (!/^[\w-]{1,64}$/.test(incarnation)) {
    throw new TypeError('node.incarnation: must be 1 to 64 letters, digits, "-" or "_"');
  }
}
