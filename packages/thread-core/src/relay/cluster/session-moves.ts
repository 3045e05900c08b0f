import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Deferred, defer } from '../../deferred.js';
import { withTimeout } from '../../timers.js';
import type { ResumedProgress } from '../resume/ready-frame.js';
import { lastSeqOf } from '../store/journal-slice.js';
import type { JournalSlice, JsonValue, Ownership, StoredSession } from '../store/session-store.js';
import type { ClusterNode } from './cluster-node.js';

/** A client asks for a session that this node does not have. */
export interface ResumeRequest {
  readonly sid: string;
  readonly secretHash: string;
  readonly identityKey: string;
  /** The number of the last frame that the client has seen. */
  readonly seq: number;
  /** How many frames it has sent. */
  readonly sent: number;
}

/** The session stays with its owner, because something runs: the asking node passes frames on. */
export interface GatewayOffer extends ResumedProgress {
  readonly link: string;
}

/**
 * `moved`: the asking node owns the session now. `gap`, `expired`: it cannot be resumed. `replaced`: a newer connection
 * has resumed it. `retry`: it has no such session now, or could not give it away.
 */
export type MoveAnswer = 'moved' | 'gap' | 'expired' | 'replaced' | 'retry' | GatewayOffer;

/** `local`: this node has the session now. `unavailable`: try again later. `unwanted`: the client has left. */
export type ResumeResult =
  | Exclude<MoveAnswer, 'moved' | 'retry' | GatewayOffer>
  | (GatewayOffer & { readonly owner: string })
  | 'local'
  | 'unknown'
  | 'forbidden'
  | 'unavailable'
  | 'unwanted';

/** A session that was taken over from another node, or from the store. */
export interface ClaimedSession {
  readonly owned: Ownership;
  readonly session: StoredSession;
  /** What the client has not acknowledged, as far as the store has it. */
  readonly journal: JournalSlice | undefined;
  readonly request: ResumeRequest;
}

export interface MovesHost {
  hasSession(sid: string): boolean;
  /** Makes a session of what was claimed, without a connection. */
  restore(claimed: ClaimedSession): Promise<void>;
  /** Gives a session of this node to another one, if that is possible. */
  give(request: ResumeRequest, to: string): Promise<MoveAnswer>;
}

/** Asks the owner of a session for it. */
interface MoveMessage {
  type: 'move';
  from: string;
  ask: string;
  request: ResumeRequest;
}

interface AnswerMessage {
  type: 'move-answer';
  ask: string;
  answer: MoveAnswer;
  request: ResumeRequest;
}

export type MovesMessage = MoveMessage | AnswerMessage;

/** After these the session does not come to this node without another request, or is here. */
const FINAL: readonly unknown[] = [
  'local',
  'gap',
  'expired',
  'replaced',
  'unknown',
  'forbidden',
] satisfies ResumeResult[];

/** Requests that are remembered because the session may have come here. */
const MAX_UNCERTAIN = 10_000;

/** Milliseconds between two attempts if the owner did not give a time. */
const MIN_WAIT_MS = 25;

/** Moves sessions from other nodes to this one, and away: at most one attempt for each session at a time. */
export class SessionMoves {
  readonly #node: ClusterNode;
  readonly #host: MovesHost;
  /** The last attempt for each session, on which the next one waits. */
  readonly #attempts = new Map<string, Promise<unknown>>();
  readonly #asked = new Map<string, Deferred<MoveAnswer>>();
  /** By session id, what was asked for and may have come here without an answer that says so: the store's, or the owner's. */
  readonly #uncertain = new Map<string, ResumeRequest>();
  /** Sessions that were taken over from other nodes, and sessions that were given to them. */
  claimed = 0;
  handedOver = 0;

  constructor(node: ClusterNode, host: MovesHost) {
    this.#node = node;
    this.#host = host;
  }

  /** Whether a session of that id may be about to come here. */
  isExpected(sid: string): boolean {
    return this.#attempts.has(sid);
  }

  /** Takes a session that the store has for this node, if a client has asked for it here. False if none has. */
  adopt(sid: string): boolean {
    const request = this.#uncertain.get(sid);
    if (request !== undefined) void this.#accept(request);
    return request !== undefined;
  }

  /** Takes a session over for a client, as long as that waits. */
  resume(request: ResumeRequest, isWanted: () => boolean): Promise<ResumeResult> {
    const { sid } = request;
    return this.#exclusively(sid, async () => {
      try {
        await this.#node.joined();
        this.#remember(request);
        const result = await this.#resume(request, isWanted);
        if (FINAL.includes(result)) this.#uncertain.delete(sid);
        return result;
      } catch (err) {
        this.#node.logger.warn({ session: sid, err }, 'a session could not be looked for in the cluster');
        return 'unavailable';
      }
    });
  }

  async #resume(request: ResumeRequest, isWanted: () => boolean): Promise<ResumeResult> {
    const { store, node } = this.#node;
    // After a freeze of this process its sockets may be dead, and their clients elsewhere: nothing is taken from an owner for them.
    let mayAsk = this.#node.isLeaseGood;
    // Given to this node: nobody else has it then, whether or not the client has left meanwhile.
    let isGiven = false;
    while (isGiven || isWanted()) {
      if (await this.#isHere(request.sid)) return 'local';
      const claim = await store.claim(node, request.sid, request.secretHash, request.identityKey);
      if (claim.state === 'claimed') {
        await this.#restore(claim.owned, claim.session, request);
        return 'local';
      }
      if (claim.state !== 'busy') return claim.state;
      if (!isWanted()) return 'unwanted';
      if (!mayAsk) return 'unavailable';
      // If the owner does not answer, its lease decides.
      const wait = Math.min(Math.max(claim.retryAfter, MIN_WAIT_MS), node.lease);
      const answer = claim.owner === undefined ? undefined : await this.#ask(claim.owner, request, wait);
      if (typeof answer === 'object' && claim.owner !== undefined) return { ...answer, owner: claim.owner };
      if (answer === 'gap' || answer === 'expired' || answer === 'replaced') return answer;
      isGiven = answer === 'moved';
      if (claim.owner === undefined) await delay(wait, undefined, { ref: false });
      else if (!isGiven) await delay(MIN_WAIT_MS, undefined, { ref: false });
      mayAsk = this.#node.isLeaseGood;
    }
    return 'unwanted';
  }

  /** Once the lease is over, another node may have claimed a session of this one: a renewal tells. */
  async #isHere(sid: string): Promise<boolean> {
    if (this.#host.hasSession(sid) && !this.#node.isLeaseGood) await this.#node.check(false);
    return this.#host.hasSession(sid);
  }

  async #ask(owner: string, request: ResumeRequest, timeout: number): Promise<MoveAnswer | undefined> {
    const { store, node } = this.#node;
    const answer = defer<MoveAnswer>();
    const ask = randomUUID();
    this.#asked.set(ask, answer);
    try {
      const message: MoveMessage = { type: 'move', from: node.name, ask, request };
      if (!(await store.post(owner, toJson(message)))) return undefined;
      return await withTimeout(answer.promise, timeout);
    } finally {
      this.#asked.delete(ask);
    }
  }

  async #restore(owned: Ownership, session: StoredSession, request: ResumeRequest): Promise<void> {
    await this.#host.restore({ owned, session, request, journal: await this.#readJournal(owned.sid) });
    this.#uncertain.delete(owned.sid);
    this.claimed += 1;
  }

  async #readJournal(sid: string): Promise<JournalSlice | undefined> {
    const journal = await this.#node.store.read(sid, 0);
    if (journal === undefined) return undefined;
    for (;;) {
      const next = await this.#node.store.read(sid, lastSeqOf(journal));
      if (next === undefined || next.frames.length === 0) return journal;
      journal.frames.push(...next.frames);
    }
  }

  onMessage(message: MovesMessage): void {
    if (message.type === 'move') void this.#give(message);
    else this.#onAnswer(message);
  }

  async #give({ from, ask, request }: MoveMessage): Promise<void> {
    const { store, logger } = this.#node;
    try {
      const answer = await this.#host.give(request, from);
      if (answer === 'moved') this.handedOver += 1;
      const message: AnswerMessage = { type: 'move-answer', ask, answer, request };
      await store.post(from, toJson(message));
    } catch (err) {
      // The other node asks again.
      logger.warn({ session: request.sid, to: from, err }, 'a session could not be given to another node');
    }
  }

  #onAnswer({ ask, answer, request }: AnswerMessage): void {
    const asked = this.#asked.get(ask);
    if (asked !== undefined) asked.resolve(answer);
    // The client has left meanwhile. Its session waits for it here.
    else if (answer === 'moved') void this.#accept(request);
  }

  /** Takes a session that was given to this node, unless another node has it by now: its client may be there. */
  #accept(request: ResumeRequest): Promise<void> {
    const { sid, secretHash, identityKey } = request;
    return this.#exclusively(sid, async () => {
      if (this.#host.hasSession(sid)) return;
      try {
        const claim = await this.#node.store.claim(this.#node.node, sid, secretHash, identityKey);
        if (claim.state === 'claimed') await this.#restore(claim.owned, claim.session, request);
      } catch (err) {
        this.#node.logger.warn({ session: sid, err }, 'a session that was given to this node could not be taken');
      }
    });
  }

  #remember(request: ResumeRequest): void {
    // The oldest go first.
    this.#uncertain.delete(request.sid);
    this.#uncertain.set(request.sid, request);
    const [oldest] = this.#uncertain.keys();
    if (this.#uncertain.size > MAX_UNCERTAIN && oldest !== undefined) this.#uncertain.delete(oldest);
  }

  #exclusively<T>(sid: string, attempt: () => Promise<T>): Promise<T> {
    const previous = this.#attempts.get(sid) ?? Promise.resolve();
    const done = previous.then(attempt).finally(() => {
      if (this.#attempts.get(sid) === done) this.#attempts.delete(sid);
    });
    this.#attempts.set(sid, done);
    return done;
  }
}

function toJson(message: MovesMessage): JsonValue {
  const request = { ...message.request };
  if (message.type === 'move') return { ...message, request };
  const { answer } = message;
  return { ...message, request, answer: typeof answer === 'object' ? { ...answer } : answer };
}
