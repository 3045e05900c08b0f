import { randomUUID } from 'node:crypto';
import type { ThreadEntry } from '../../threads/store.js';
import { Journals } from './memory-journals.js';
import { Nodes } from './memory-nodes.js';
import { clone, isOwner, isOwnership, isSameOwnership, type StoredRecord, toOwnership } from './memory-record.js';
import {
  type ClaimResult,
  FencedError,
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
  type StoreNode,
} from './session-store.js';

/**
 * A store in the memory of one process: for tests, and for several relays in one process. It behaves as a database would,
 * fencing and leases included, but does not outlive the process.
 */
export function memoryStore(): MemoryStore {
  return new MemoryStore();
}

/** What `memoryStore()` gives: a `SessionStore`, with `lose()` for tests. */
export class MemoryStore implements SessionStore {
  #boot: string = randomUUID();
  /** Until then nothing is claimed from dead nodes or reaped: nodes are registering their sessions again. */
  #settlesAt = 0;
  readonly #records = new Map<string, StoredRecord>();
  readonly #nodes = new Nodes();
  readonly #journals = new Journals();

  /** Loses all data, as FLUSHALL does. For tests. */
  lose(): void {
    this.#records.clear();
    this.#journals.clear();
    this.#nodes.clear();
    this.#boot = randomUUID();
    this.#settlesAt = Number.POSITIVE_INFINITY;
  }

  async join(node: StoreNode): Promise<Renewal> {
    this.#nodes.takeName(node);
    return this.renew(node);
  }

  async renew(node: StoreNode): Promise<Renewal> {
    const now = performance.now();
    // The first node to come back says how long a lease is.
    if (this.#settlesAt === Number.POSITIVE_INFINITY) this.#settlesAt = now + node.lease;
    const sessions = this.#ownedBy(node).length;
    if (!this.#nodes.isCurrent(node)) return { sessions, fenced: true, lapsed: true, boot: this.#boot };
    const lapsed = !this.#nodes.isAlive(node);
    this.#nodes.renew(node);
    return { sessions, fenced: false, lapsed, boot: this.#boot };
  }

  async leave(node: StoreNode): Promise<void> {
    this.#nodes.leave(node);
  }

  async open(node: StoreNode, meta: SessionMeta): Promise<Ownership> {
    this.#checkNode(node);
    const { sid, epoch = 1 } = meta;
    const known = this.#records.get(sid);
    const owner = { name: node.name, incarnation: node.incarnation };
    if (known === undefined) {
      if (meta.epoch !== undefined && meta.boot === this.#boot) throw new FencedError(`session ${sid}`);
    } else if (known.epoch >= epoch) {
      const isSame = known.epoch === epoch && known.status === 'owned' && isOwner(known, node);
      if (!isSame) throw new FencedError(`session ${sid}`);
      // A repeated command may arrive late: it must not undo later writes.
      Object.assign(known.threads, clone(meta.threads ?? {}));
      // Its owner has it: that it has claimed it may be lost.
      known.isUnclaimed = false;
      if (known.secretHash === undefined && meta.secretHash !== undefined) {
        const { secretHash, identityKey, identity, grace } = clone(meta);
        Object.assign(known, { secretHash, identityKey, identity, grace });
      }
      return toOwnership(known);
    }
    this.#journals.delete(sid);
    const { seq = 0, got = 0, pending = [], threads = {}, grace, identityKey, identity, secretHash } = clone(meta);
    const record: StoredRecord = {
      ...{ sid, epoch, owner, secretHash, identityKey, identity, grace, seq, got, pending, threads },
      ...{ waiting: [], status: 'owned', exactAt: 0, isUnclaimed: false, handedOverBy: undefined, until: 0 },
    };
    this.#records.set(sid, record);
    return toOwnership(record);
  }

  async thread(owned: Ownership, key: string, entry: ThreadEntry | null): Promise<void> {
    const record = this.#owned(owned);
    if (entry === null) delete record.threads[key];
    else record.threads[key] = clone(entry);
  }

  async append(owned: Ownership, slice: JournalSlice): Promise<void> {
    const record = this.#owned(owned);
    const end = this.#journals.append(owned.sid, slice);
    record.seq = Math.max(record.seq, end);
  }

  async read(sid: string, afterSeq: number, limit = 1000): Promise<JournalSlice | undefined> {
    return this.#journals.read(sid, afterSeq, limit);
  }

  async trim(sid: string, seq: number): Promise<void> {
    if (this.#records.has(sid)) this.#journals.trim(sid, seq);
  }

  async park(owned: Ownership, state: SessionState): Promise<void> {
    const known = this.#records.get(owned.sid);
    if (known?.status === 'parked' && isOwnership(known, owned)) return;
    const record = this.#owned(owned);
    this.#write(record, state);
    record.status = 'parked';
    record.until = performance.now() + record.grace;
  }

  async handover(owned: Ownership, to: string, state: SessionState): Promise<boolean> {
    const known = this.#records.get(owned.sid);
    const isRepeated = known?.handedOverBy !== undefined && isSameOwnership(known.handedOverBy, owned);
    if (isRepeated && known.epoch === owned.epoch + 1 && known.owner.name === to) return true;
    const record = this.#owned(owned);
    const owner = this.#nodes.living(to);
    if (owner === undefined) return false;
    this.#write(record, state);
    record.handedOverBy = { ...owned };
    record.owner = owner;
    record.epoch += 1;
    record.isUnclaimed = true;
    return true;
  }

  async claim(node: StoreNode, sid: string, secretHash: string, identityKey: string | undefined): Promise<ClaimResult> {
    this.#checkNode(node);
    const now = performance.now();
    const settling = this.#settlesAt - now;
    const busy: ClaimResult = { state: 'busy', owner: undefined, retryAfter: Math.min(settling, node.lease) };
    const record = this.#records.get(sid);
    if (record === undefined) return settling > 0 ? busy : { state: 'unknown' };
    if (record.secretHash === undefined || record.secretHash !== secretHash) return { state: 'unknown' };
    if (record.identityKey !== identityKey) return { state: 'forbidden' };
    if (record.status === 'expired' || record.status === 'reaping') return { state: 'expired' };
    if (record.status === 'parked') {
      if (now >= record.until) return { state: 'expired' };
      this.#take(record, node, 'owned');
    } else if (!isOwner(record, node)) {
      const diesAt = this.#nodes.expiry(record.owner);
      if (diesAt > now) return { state: 'busy', owner: record.owner.name, retryAfter: diesAt - now };
      if (settling > 0) return busy;
      if (now >= diesAt + record.grace) return { state: 'expired' };
      this.#take(record, node, 'owned');
    }
    record.isUnclaimed = false;
    return { state: 'claimed', ...this.#give(record) };
  }

  async expire(owned: Ownership, takeoverAfter: number): Promise<void> {
    const record = this.#owned(owned);
    if (record.status === 'expired') return;
    record.status = 'expired';
    record.until = performance.now() + takeoverAfter;
  }

  async reap(node: StoreNode, { limit, takeoverAfter }: ReapOptions): Promise<ReapedSession[]> {
    this.#checkNode(node);
    const now = performance.now();
    if (this.#settlesAt > now || !this.#nodes.isAlive(node)) return [];
    const reaped: ReapedSession[] = [];
    for (const record of this.#records.values()) {
      if (reaped.length >= limit) break;
      const due = record.status === 'owned' ? this.#nodes.expiry(record.owner) + record.grace : record.until;
      if (due > now) continue;
      this.#take(record, node, 'reaping', takeoverAfter);
      reaped.push(this.#give(record));
    }
    return reaped;
  }

  async reapOne(node: StoreNode, sid: string, takeoverAfter: number): Promise<ReapedSession | undefined> {
    this.#checkNode(node);
    const now = performance.now();
    const record = this.#records.get(sid);
    if (record === undefined || this.#settlesAt > now) return undefined;
    const isBeingEnded = record.status === 'expired' || record.status === 'reaping';
    if (isBeingEnded && record.until > now) return undefined;
    const isOthers = record.status === 'owned' && !isOwner(record, node) && this.#nodes.expiry(record.owner) > now;
    if (isOthers) return undefined;
    this.#take(record, node, 'reaping', takeoverAfter);
    return this.#give(record);
  }

  async close(owned: Ownership): Promise<void> {
    if (!this.#records.has(owned.sid)) return;
    this.#owned(owned);
    this.#records.delete(owned.sid);
    this.#journals.delete(owned.sid);
  }

  async nodes(): Promise<string[]> {
    return this.#nodes.names();
  }

  async sessionsOn(node: StoreNode): Promise<string[]> {
    return this.#ownedBy(node);
  }

  async sessionsOf(identityKey: string): Promise<SessionPlace[]> {
    const now = performance.now();
    const places: SessionPlace[] = [];
    for (const record of this.#records.values()) {
      if (record.identityKey !== identityKey) continue;
      const isAlive = record.status !== 'parked' && this.#nodes.expiry(record.owner) > now;
      places.push({ sid: record.sid, owner: isAlive ? record.owner.name : undefined });
    }
    return places;
  }

  async post(to: string, message: JsonValue): Promise<boolean> {
    return this.#nodes.post(to, clone(message));
  }

  async onPost(node: StoreNode, listener: (message: JsonValue) => void): Promise<() => Promise<void>> {
    this.#checkNode(node);
    const stop = this.#nodes.listen(node, listener);
    return async () => stop();
  }

  #checkNode(node: Pick<StoreNode, 'name' | 'incarnation'>): void {
    if (!this.#nodes.isCurrent(node)) throw new FencedError(`node ${node.name}`);
  }

  /** The record that is owned so, as long as it is. */
  #owned(owned: Ownership): StoredRecord {
    this.#checkNode({ name: owned.node, incarnation: owned.incarnation });
    const record = this.#records.get(owned.sid);
    if (record === undefined || record.status === 'parked' || !isOwnership(record, owned)) {
      throw new FencedError(`session ${owned.sid}`);
    }
    return record;
  }

  #ownedBy(node: StoreNode): string[] {
    const owned = [...this.#records.values()].filter((record) => record.status === 'owned' && isOwner(record, node));
    return owned.map(({ sid }) => sid);
  }

  #write(record: StoredRecord, state: SessionState): void {
    const { journal, ...rest } = clone(state);
    Object.assign(record, rest);
    record.exactAt = record.epoch;
    this.#journals.replace(record.sid, journal, state.seq);
  }

  #take(record: StoredRecord, node: StoreNode, status: 'owned' | 'reaping', takeoverAfter = 0): void {
    // Its owner never had it: all of it is as it was written down.
    if (record.isUnclaimed) record.exactAt = record.epoch;
    record.isUnclaimed = false;
    record.epoch += 1;
    record.owner = { name: node.name, incarnation: node.incarnation };
    record.status = status;
    record.until = performance.now() + takeoverAfter;
  }

  #give(record: StoredRecord): ReapedSession {
    const { sid, epoch, identityKey, identity, grace, seq, got, pending, threads, waiting, exactAt } = record;
    const exact = exactAt === epoch - 1;
    return {
      owned: toOwnership(record),
      session: clone({ sid, identityKey, identity, grace, seq, got, pending, threads, waiting, exact }),
    };
  }
}
