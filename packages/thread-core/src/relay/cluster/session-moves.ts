import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type Deferred, defer } from '../../deferred.js';
import { withTimeout } from '../../timers.js';
import { readJournal } from '../store/journal-slice.js';
import type { ClaimResult, Ownership, StoredSession } from '../store/session-store.js';
import { setBounded } from './bounded-map.js';
import { ClusterUnavailableError } from './cluster-errors.js';
import type { ClusterNode } from './cluster-node.js';
import type {
  AnswerMessage,
  ClaimedSession,
  MoveAnswer,
  MoveMessage,
  MovesMessage,
  ResumeRequest,
  ResumeResult,
} from './move-messages.js';
import { SignOuts } from './sign-outs.js';
import { UncertainRequests } from './uncertain-requests.js';

export interface MovesHost {
  hasSession(sid: string): boolean;
  /** Makes a session of what was claimed, without a connection. */
  restore(claimed: ClaimedSession): Promise<void>;
  /** Ends a session of this node: its user was signed out while it was on its way here. */
  endSession(sid: string): void;
  /** Gives a session of this node to another one, if that is possible. */
  give(request: ResumeRequest, to: string): Promise<MoveAnswer>;
}

/** With these results the session is here (`local`), or comes here only if a client asks again. */
const FINAL: readonly unknown[] = [
  'local',
  'gap',
  'expired',
  'replaced',
  'unknown',
  'forbidden',
] satisfies ResumeResult[];

/** The most questions that are remembered. */
const MAX_REMEMBERED = 10_000;

/** The pauses between two claims: each is twice as long as the one before. After a handover there is none. */
const MIN_WAIT_MS = 25;
const MAX_WAIT_MS = 500;

/** Moves sessions from other nodes to this one, and away: at most one attempt for each session at a time. */
export class SessionMoves {
  readonly #node: ClusterNode;
  readonly #host: MovesHost;
  /** The last attempt for each session, for which the next one waits. */
  readonly #attempts = new Map<string, Promise<unknown>>();
  /** The answers that are awaited, by the id of the question. */
  readonly #answers = new Map<string, Deferred<MoveAnswer>>();
  /** Questions of other nodes that were taken. A client of the store may post one again whose answer was lost. */
  readonly #asked = new Map<string, true>();
  readonly #uncertain = new UncertainRequests();
  readonly signOuts = new SignOuts();
  readonly #stopping = new AbortController();
  /** Sessions that were taken over from other nodes, and sessions that were given to them. */
  claimed = 0;
  handedOver = 0;

  constructor(node: ClusterNode, host: MovesHost) {
    this.#node = node;
    this.#host = host;
    // One listener for each client that waits.
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Whether an attempt to move this session here is running. */
  isExpected(sid: string): boolean {
    return this.#attempts.has(sid);
  }

  /** Takes a session that the store has for this node. Returns false if no client has asked for it here. */
  adopt(sid: string): boolean {
    const asked = this.#uncertain.of(sid);
    for (const { request, askedAt } of asked) void this.#accept(request, askedAt);
    return asked.length > 0 || this.#node.waiting.has(sid);
  }

  /** Takes no more sessions, and waits for no more answers of other nodes. Resolves when no attempt is running. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const answer of this.#answers.values()) answer.resolve('retry');
    await Promise.all(this.#attempts.values());
  }

  /** Takes a session over for a client, as long as the client waits. */
  resume(request: ResumeRequest, isWanted: () => boolean, askedAt = performance.now()): Promise<ResumeResult> {
    const { sid } = request;
    return this.#exclusively(sid, async () => {
      try {
        await this.#node.joined();
        const result = await this.#resume(request, askedAt, isWanted);
        if (FINAL.includes(result)) this.#uncertain.remove(request);
        return result;
      } catch (err) {
        this.#node.logger.warn({ session: sid, err }, 'a session could not be looked for in the cluster');
        return 'unavailable';
      }
    });
  }

  async #resume(request: ResumeRequest, askedAt: number, isWanted: () => boolean): Promise<ResumeResult> {
    const { node } = this.#node;
    // After a freeze this process's sockets may be dead and their clients elsewhere. Then no owner is asked for a session.
    let mayAsk = this.#node.isLeaseGood;
    // The owner has handed it to this node: nobody else has it, even if the client has left.
    let isGiven = false;
    let pause = MIN_WAIT_MS;
    /** The last question that was answered. */
    let answered: string | undefined;
    const { signal } = this.#stopping;
    while (isGiven || isWanted()) {
      if (signal.aborted && !isGiven) return 'unavailable';
      if (await this.#isHere(request.sid)) return 'local';
      this.#uncertain.add(request, askedAt);
      const claim = await this.#claim(request);
      if (claim === 'disputed') {
        await this.#pause(MAX_WAIT_MS);
        continue;
      }
      if (claim.state === 'claimed') {
        await this.#restore(claim.owned, claim.session, request, askedAt);
        return 'local';
      }
      if (claim.state !== 'busy') return claim.state;
      if (!isWanted()) return 'unwanted';
      if (!mayAsk) return 'unavailable';
      // If the owner does not answer, a later claim succeeds when its lease is over.
      const wait = Math.min(Math.max(claim.retryAfter, MIN_WAIT_MS), node.lease);
      const ask = randomUUID();
      const asking = { ...request, waited: performance.now() - askedAt, ask, ...(answered && { answered }) };
      const answer = claim.owner === undefined ? undefined : await this.#ask(claim.owner, ask, asking, wait);
      if (typeof answer === 'object' && claim.owner !== undefined) return { ...answer, owner: claim.owner };
      if (answer === 'gap' || answer === 'expired' || answer === 'replaced') return answer;
      isGiven = answer === 'moved';
      if (answer !== undefined) answered = ask;
      if (!isGiven) await this.#pause(claim.owner ? pause : wait);
      pause = Math.min(pause * 2, MAX_WAIT_MS);
      mayAsk = this.#node.isLeaseGood;
    }
    return 'unwanted';
  }

  /** `disputed`: the store has it as this node's, but another one may have claimed it, and register it again. */
  async #claim({ sid, secretHash, identityKey }: ResumeRequest): Promise<ClaimResult | 'disputed'> {
    const { store, node, givenUp } = this.#node;
    if (givenUp.has(sid)) {
      // Only a renewal tells whether the store has lost its data, and with it whose the session is.
      if (!this.#node.isLeaseGood) await this.#node.renewAfresh();
      if (!this.#node.isLeaseGood) throw new ClusterUnavailableError();
      await givenUp.register(sid);
    }
    const claim = await store.claim(node, sid, secretHash, identityKey);
    return claim.state === 'claimed' && givenUp.isDisputed(claim.owned) ? 'disputed' : claim;
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { ref: false, signal: this.#stopping.signal }).catch(() => undefined);
  }

  /** Once the lease is over, another node may have claimed a session of this one: a renewal tells. */
  async #isHere(sid: string): Promise<boolean> {
    if (this.#host.hasSession(sid) && !this.#node.isLeaseGood) {
      await this.#node.check(false);
      // By one of the two clocks it is over all the same.
      if (!this.#node.isLeaseGood) throw new ClusterUnavailableError();
    }
    return this.#host.hasSession(sid);
  }

  async #ask(owner: string, ask: string, request: ResumeRequest, timeout: number): Promise<MoveAnswer | undefined> {
    const { store, node } = this.#node;
    const answer = defer<MoveAnswer>();
    this.#answers.set(ask, answer);
    try {
      const message: MoveMessage = { type: 'move', from: node.name, ask, request };
      if (!(await store.post(owner, { ...message }))) return undefined;
      return await withTimeout(answer.promise, timeout);
    } finally {
      this.#answers.delete(ask);
    }
  }

  async #restore(owned: Ownership, session: StoredSession, request: ResumeRequest, askedAt: number): Promise<void> {
    const { sid } = owned;
    const journal = await readJournal(this.#node.store, sid);
    this.#uncertain.removeAll(sid);
    if (this.#node.givenUp.includes(owned)) session.exact = false;
    this.#node.waiting.add(sid, session.grace);
    await this.#host.restore({ owned, session, request, journal });
    this.#node.waiting.delete(sid);
    this.claimed += 1;
    if (this.signOuts.haveEnded(request.identityKey, sid, askedAt)) this.#host.endSession(sid);
  }

  onMessage(message: MovesMessage): void {
    if (message.type === 'move-answer') this.#onAnswer(message);
    else if (this.#isNew(message)) void this.#give(message);
  }

  #isNew({ ask }: MoveMessage): boolean {
    if (this.#asked.has(ask)) return false;
    setBounded(this.#asked, ask, true, MAX_REMEMBERED);
    return true;
  }

  async #give({ from, ask, request }: MoveMessage): Promise<void> {
    const { store, logger } = this.#node;
    try {
      const answer = await this.#host.give(request, from);
      if (answer === 'moved') this.handedOver += 1;
      const given = typeof answer === 'object' ? { ...answer } : answer;
      await store.post(from, { type: 'move-answer', ask, answer: given, request } satisfies AnswerMessage);
    } catch (err) {
      // The other node asks again.
      logger.warn({ session: request.sid, to: from, err }, 'a session could not be given to another node');
    }
  }

  #onAnswer({ ask, answer, request }: AnswerMessage): void {
    const answered = this.#answers.get(ask);
    if (answered !== undefined) answered.resolve(answer);
    else if (answer === 'moved') this.take(request);
  }

  /** Takes a session that was given to this node, and which nobody waits for here. It waits for its client. */
  take(request: ResumeRequest): void {
    if (this.#stopping.signal.aborted) return;
    void this.#accept(request, this.#uncertain.find(request)?.askedAt ?? performance.now());
  }

  /** Takes a session that this node has given up, or could not restore, because its client has come to another node. */
  takeBack(request: ResumeRequest): void {
    const { sid } = request;
    const { givenUp, waiting } = this.#node;
    const isLeft = (givenUp.has(sid) || waiting.has(sid)) && !this.#node.isMember(sid);
    if (isLeft && !this.isExpected(sid)) this.take(request);
  }

  /** Takes a session that was given to this node, unless another node has it by now: its client may be there. */
  #accept(request: ResumeRequest, askedAt: number): Promise<void> {
    const { sid } = request;
    return this.#exclusively(sid, async () => {
      if (this.#host.hasSession(sid)) return;
      try {
        const claim = await this.#claim(request);
        if (claim === 'disputed') return;
        if (claim.state === 'claimed') await this.#restore(claim.owned, claim.session, request, askedAt);
        // Its secret is wrong, or the session has ended.
        else if (claim.state !== 'busy') this.#uncertain.remove(request);
      } catch (err) {
        this.#node.logger.warn({ session: sid, err }, 'a session that was given to this node could not be taken');
      }
    });
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
