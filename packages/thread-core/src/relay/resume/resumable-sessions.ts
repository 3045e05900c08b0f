import type { NotResumedReason } from '@arc/thread-protocol';
import { ANONYMOUS } from '../admission/identity.js';
import type { ResumeConfig } from '../api.js';
import { networkOf } from './ip-network.js';
import { ParkedSessions } from './parked-sessions.js';
import { isSecret, readToken } from './session-secret.js';

/** What the registry needs of a session. */
export interface ResumableSession {
  readonly id: string;
  /** `address`: that of its last connection. */
  readonly resumption:
    | { readonly identityKey: string; readonly secretHash: string; readonly got: number; readonly address: string }
    | undefined;
  /** Size of all that it keeps: frames for its client, and frames of the client that are pending or held. */
  readonly keptBytes: number;
  /** Ends the session although its grace is not over. */
  evict(): void;
}

/** Ended sessions that are remembered, so that their clients get `expired` instead of `unknown`. */
const MAX_EXPIRED = 1000;

/** The resumable sessions of a relay, and how much those without a connection may take. */
export class ResumableSessions<Member extends ResumableSession> {
  readonly #config: ResumeConfig;
  readonly #byId = new Map<string, Member>();
  /** Detached sessions by identity, or by network if they have none. The oldest of each is first. */
  readonly #detached = new Map<string, Set<Member>>();
  #detachedCount = 0;
  #detachedBytes = 0;
  /** Sessions that have ended, by id: the hash of the secret, and how many frames of the client had arrived. */
  readonly #expired = new Map<string, Readonly<{ secretHash: string; got: number }>>();
  /** Those that have ended, and that the store of a cluster still has as this node's: to claim one would serve it twice. */
  readonly #unmarked = new Map<string, Member>();

  readonly #parked: ParkedSessions;

  constructor(config: ResumeConfig) {
    this.#config = config;
    this.#parked = new ParkedSessions(config.maxDetached, config.grace);
  }

  get detachedCount(): number {
    return this.#detachedCount;
  }

  add(session: Member): void {
    this.#byId.set(session.id, session);
  }

  has(sid: string): boolean {
    return this.#byId.has(sid);
  }

  get(sid: string): Member | undefined {
    return this.#byId.get(sid);
  }

  /** The session is on another node now. Returns whether it was here. */
  removeMoved(session: Member): boolean {
    this.uncountDetached(session);
    // Its grace may have been over here, before it turned out that another node has it.
    this.#expired.delete(session.id);
    this.#unmarked.delete(session.id);
    return this.#byId.delete(session.id);
  }

  /** The session has ended: for a while its client gets `expired`. */
  removeEnded(session: Member): void {
    if (!this.removeMoved(session)) return;
    const { secretHash = '', got = 0 } = session.resumption ?? {};
    this.#expired.set(session.id, { secretHash, got });
    const [oldest] = this.#expired.keys();
    if (this.#expired.size > MAX_EXPIRED && oldest !== undefined) this.#expired.delete(oldest);
  }

  /** Until `forgetUnmarked` its client gets `expired`, however many others end. */
  rememberUnmarked(session: Member): void {
    this.#unmarked.set(session.id, session);
  }

  forgetUnmarked(session: Member): void {
    this.#unmarked.delete(session.id);
  }

  /** The session of a token, or why there is none. A wrong secret tells no more than an unknown session. */
  find(text: string, identityKey: string): Member | NotResumedReason {
    const token = readToken(text);
    if (token === undefined) return 'unknown';
    const session = this.#byId.get(token.sid);
    const { resumption } = session ?? this.#unmarked.get(token.sid) ?? {};
    const hash = resumption?.secretHash ?? this.#expired.get(token.sid)?.secretHash;
    if (hash === undefined || !isSecret(token.secret, hash)) return 'unknown';
    if (session === undefined) return 'expired';
    return session.resumption?.identityKey === identityKey ? session : 'forbidden';
  }

  /** Whether it ended here a while ago, or is about to. */
  hasEnded(sid: string): boolean {
    return !this.#byId.has(sid) && (this.#expired.has(sid) || this.#unmarked.has(sid));
  }

  /** How many frames of the client had arrived when a session ended; undefined if that is not known any more. */
  received(text: string): number | undefined {
    return this.#expired.get(readToken(text)?.sid ?? '')?.got;
  }

  /** The session has lost its connection: it counts among those that wait. May evict sessions, this one included. */
  countDetached(session: Member): void {
    // It may count already.
    this.uncountDetached(session);
    const key = groupOf(session);
    const group = this.#detached.get(key) ?? new Set();
    this.#detached.set(key, group.add(session));
    this.#detachedCount += 1;
    this.grow(session, session.keptBytes);
  }

  /** The session has a connection again, has ended, or has moved. */
  uncountDetached(session: Member): void {
    const key = groupOf(session);
    const group = this.#detached.get(key);
    if (group === undefined || !group.delete(session)) return;
    if (group.size === 0) this.#detached.delete(key);
    this.#detachedCount -= 1;
    this.#detachedBytes -= session.keptBytes;
  }

  /** Whether a session that has nothing may be left to the store. It counts from then on, until its grace is over. */
  mayPark(session: Member): boolean {
    return this.#parked.add(groupOf(session));
  }

  /** What a detached session keeps has grown. */
  grow(session: Member, bytes: number): void {
    this.#detachedBytes += bytes;
    const { maxDetached, maxDetachedBytes } = this.#config;
    this.#makeRoom(session, COUNT, () => this.#detachedCount > maxDetached);
    if (this.#detachedBytes > maxDetachedBytes) this.#recount();
    this.#makeRoom(session, BYTES, () => this.#detachedBytes > maxDetachedBytes);
  }

  /** The sum still includes the frames of sends that have ended: it is not updated for each of them. */
  #recount(): void {
    this.#detachedBytes = 0;
    for (const group of this.#detached.values()) this.#detachedBytes += BYTES.ofAll(group);
  }

  /** Ends the oldest session of the identity that holds most, again and again, so that nobody can evict the sessions of others. */
  #makeRoom(cause: Member, measure: Measure, exceedsLimit: () => boolean): void {
    if (!exceedsLimit()) return;
    // Measured once: of thousands of small sessions many may have to end for one that is large.
    const sizes = new Map<Set<Member>, number>();
    for (const group of this.#detached.values()) sizes.set(group, measure.ofAll(group));
    while (exceedsLimit()) {
      const { group, size, next } = this.#findLargest(cause, sizes);
      if (group === undefined) return;
      let left = size;
      for (const oldest of group) {
        left -= measure.of(oldest);
        this.uncountDetached(oldest);
        oldest.evict();
        if (!exceedsLimit() || left <= next) break;
      }
      if (group.size === 0) sizes.delete(group);
      else sizes.set(group, left);
    }
  }

  /** The largest group, and the size of the next one. Among equals, the group that needs the room gives it. */
  #findLargest(
    cause: Member,
    sizes: ReadonlyMap<Set<Member>, number>,
  ): { group: Set<Member> | undefined; size: number; next: number } {
    const own = this.#detached.get(groupOf(cause));
    let group = own !== undefined && sizes.has(own) ? own : undefined;
    let size = group === undefined ? -1 : (sizes.get(group) ?? -1);
    let next = -1;
    for (const [other, otherSize] of sizes) {
      if (other === group) continue;
      if (otherSize > size) [group, size, next] = [other, otherSize, size];
      else next = Math.max(next, otherSize);
    }
    return { group, size, next };
  }
}

/** What a group of sessions is measured by. */
interface Measure {
  of(session: ResumableSession): number;
  ofAll(group: ReadonlySet<ResumableSession>): number;
}

const COUNT: Measure = { of: () => 1, ofAll: ({ size }) => size };

const BYTES: Measure = {
  of: ({ keptBytes }) => keptBytes,
  ofAll(group) {
    let bytes = 0;
    for (const { keptBytes } of group) bytes += keptBytes;
    return bytes;
  },
};

function groupOf({ resumption }: ResumableSession): string {
  const { identityKey = ANONYMOUS, address = '' } = resumption ?? {};
  return identityKey === ANONYMOUS ? `network ${networkOf(address)}` : `identity ${identityKey}`;
}
