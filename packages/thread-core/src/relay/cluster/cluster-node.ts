import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../logger.js';
import { withTimeout } from '../../timers.js';
import { FencedError, type Renewal, type SessionStore, StoreError, type StoreNode } from '../store/session-store.js';
import { ClusterUnavailableError } from './cluster-errors.js';
import { type ReconciledSession, reconcile } from './cluster-reconcile.js';
import { type ClusterState, logState } from './cluster-state.js';
import { GivenUpSessions } from './given-up-sessions.js';
import { LeaseClock, type Moment } from './lease-clock.js';
import { DescriptionError } from './record-owner.js';
import { WaitingSessions } from './waiting-sessions.js';

export interface ClusterNodeOptions {
  store: SessionStore;
  node: string;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds after the end of the lease in which no other node ends the chats of this one. */
  grace: number;
  logger: Logger;
  /** The store answers for the first time, or after the lease was over. */
  onBack(): void;
  /** Called after each renewal in which the store answered. */
  onRenewed(): void;
  /** Another process has taken the name of this node. */
  onFenced(): void;
  /** Ends a session that the store has for this node, and that the node does not know. */
  onUnknown(sid: string): Promise<void>;
}

/** A renewal each third of the lease. */
const RENEWALS_PER_LEASE = 3;

/** Milliseconds for leaving the cluster. Without an answer the lease of the node has to run out. */
const LEAVE_TIMEOUT_MS = 250;

/** How often it is checked whether a renewal has told. */
const CHECKS_PER_LEASE = 20;

/** This process as a node of the cluster: renews its lease, and knows whether it may still act for its sessions. */
export class ClusterNode {
  readonly store: SessionStore;
  readonly node: StoreNode;
  readonly grace: number;
  readonly #options: ClusterNodeOptions;
  readonly #members = new Set<ReconciledSession>();
  readonly #clock = new LeaseClock();
  /** The boot under which the members are registered. */
  #boot = '';
  #state: ClusterState = 'away';
  #hasJoined = false;
  #hasLostName = false;
  /** Whether the last renewal failed. */
  #isAway = false;
  #hasUnwritten = false;
  /** Data or the lease was lost, and not all members are registered again. */
  #isLost = false;
  /** Sessions that were removed while a renewal was under way. */
  #removed = 0;
  readonly givenUp = new GivenUpSessions();
  readonly waiting = new WaitingSessions();
  #hasLeft = false;
  #renewing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ClusterNodeOptions) {
    const { store, node, lease, grace } = options;
    this.#options = options;
    this.store = store;
    this.grace = grace;
    this.node = { name: node, incarnation: randomUUID(), lease };
  }

  get logger(): Logger {
    return this.#options.logger;
  }

  get state(): ClusterState {
    return this.#state;
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  /** The number of sessions that this node has or had in the store. */
  get memberCount(): number {
    return this.#members.size;
  }

  get boot(): string {
    return this.#boot;
  }

  /** Joins the cluster, as soon as the store can be reached, and stays in it. */
  start(): void {
    void this.renew();
    this.#timer = setInterval(() => void this.renew(), this.node.lease / RENEWALS_PER_LEASE).unref();
  }

  /** Leaves the cluster. What is still registered is treated as a dead node's. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await withTimeout(this.#leave(), LEAVE_TIMEOUT_MS);
  }

  async #leave(): Promise<void> {
    // A renewal makes a node known again that has left.
    this.#hasLeft = true;
    await this.#renewing;
    if (!this.#hasJoined) return;
    await this.store.leave(this.node).catch((err: unknown) => {
      this.#options.logger.warn({ err, node: this.node.name }, 'the node could not leave the cluster');
    });
  }

  add(member: ReconciledSession): void {
    this.#members.add(member);
  }

  remove(member: ReconciledSession): void {
    if (this.#members.delete(member)) this.#removed += 1;
  }

  /** Whether it has this session, or is to register it once more. */
  isMember(sid: string): boolean {
    return [...this.#members].some((member) => member.sid === sid);
  }

  /** A write failed: it is tried again after the next renewal. */
  noteFailedWrite(error: unknown): void {
    this.#hasUnwritten = true;
    if (error instanceof DescriptionError) this.logger.warn({ err: error.cause }, 'a session could not be stored');
    else if (!this.#isAway) this.#change('degraded', error);
  }

  /**
   * Undefined if this node may act for its sessions at once, because its lease was renewed recently. Otherwise (the event
   * loop was blocked, or the store is away) a promise, which rejects if the node may not.
   * `isConnected`: false for a session whose client is not connected to this node itself. Other nodes may claim it as soon
   * as the lease is over.
   */
  check(isConnected = true): Promise<void> | undefined {
    const isFresh = this.#clock.wallAge < (this.node.lease * 2) / RENEWALS_PER_LEASE;
    return isFresh && !this.#hasLostName ? undefined : this.#checkAgain(isConnected);
  }

  async #checkAgain(isConnected: boolean): Promise<void> {
    if (!this.#isAway && !this.#hasLostName) await this.renew();
    if (!this.#hasJoined || !this.mayWrite(isConnected)) throw new ClusterUnavailableError();
  }

  /**
   * As `check`, for what passed it and was delayed since then: the process may have been frozen meanwhile. Without the store
   * connected sessions have more time: no other node ends them before lease and grace are over. Half of the grace is for the last send.
   */
  mayWrite(isConnected: boolean): boolean {
    const limit = isConnected && this.#isAway ? this.node.lease + this.grace / 2 : this.node.lease;
    return !this.#hasLostName && this.#clock.age < limit;
  }

  /** Whether no other node can have claimed a session of this one. */
  get isLeaseGood(): boolean {
    return !this.#hasLostName && this.#clock.age < this.node.lease;
  }

  /** Waits until the node has joined, for new sessions. Rejects if it could not. */
  async joined(): Promise<void> {
    if (!this.#hasJoined) await this.renew();
    if (!this.#hasJoined || this.#hasLostName) throw new ClusterUnavailableError();
  }

  /** Renews the lease, and repairs differences between the store and this node. Never rejects. */
  renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  /** As `renew`, but a renewal that is already under way does not count: another one follows it. */
  async renewAfresh(): Promise<void> {
    await this.#renewing;
    await this.renew();
  }

  /** As `renewAfresh`, but waits for a renewal in which the store answers, or until the lease is over. */
  async renewUntilConfirmed(): Promise<void> {
    await this.renewAfresh();
    while (this.#isAway && this.isLeaseGood) await delay(this.node.lease / CHECKS_PER_LEASE, undefined, { ref: false });
  }

  async #renew(): Promise<void> {
    if (this.#hasLostName || this.#hasLeft) return;
    const { store, node } = this;
    const asked = this.#clock.now();
    // The renewal that was told of it may have got no answer.
    const mayHaveLapsed = !this.isLeaseGood;
    const atLeast = this.#count('yes');
    this.#removed = 0;
    try {
      const renewal = await (this.#hasJoined ? store.renew(node) : store.join(node));
      if (renewal.fenced) return this.#fence();
      // Only one renewal reports it, whose answer may have been lost, so it is remembered until everything is registered again.
      const hasLapsed = this.#hasJoined && (renewal.lapsed || mayHaveLapsed || !this.isLeaseGood);
      const isOtherData = this.#hasJoined && renewal.boot !== this.#boot;
      if (isOtherData && hasLapsed) this.givenUp.dispute(node.lease);
      if (hasLapsed || !this.#hasJoined) this.#options.onBack();
      this.#isLost ||= isOtherData || hasLapsed;
      this.#hasJoined = true;
      const differs = this.#isLost || !this.#isExpected(renewal, atLeast);
      const repaired = differs || this.#hasUnwritten ? await this.#repair(asked, renewal.boot, differs) : undefined;
      this.#isLost = repaired?.isLost === true;
      this.#boot = renewal.boot;
      this.#clock.set(repaired?.renewed ?? asked);
      this.#isAway = false;
      if (!this.#hasUnwritten) this.#change('ok');
    } catch (error) {
      this.#fail(error);
    }
    if (!this.#isAway && !this.#hasLostName) this.#options.onRenewed();
  }

  /** Milliseconds after which another node takes over the ending of chats, for which this one has `cleanupTimeout`. */
  takeoverAfter(cleanupTimeout: number): number {
    return cleanupTimeout * 2 + this.node.lease;
  }

  #fail(error: unknown): void {
    if (error instanceof FencedError) return this.#fence();
    const isReachable = error instanceof StoreError && (error.code === 'full' || error.code === 'version');
    this.#isAway = true;
    // Reported as fenced, but a renewal can end it: the node still has its name.
    const isLeaseOver = this.#clock.age >= this.node.lease + this.grace / 2;
    this.#change(isReachable ? 'degraded' : isLeaseOver && this.#hasJoined ? 'fenced' : 'away', error);
  }

  /**
   * Repairs differences, and renews the lease meanwhile: there may be so many sessions that it takes longer than that. Gives the
   * moment of the last renewal, and whether all was lost again.
   */
  async #repair(asked: Moment, boot: string, isFull: boolean): Promise<{ renewed: Moment; isLost: boolean }> {
    const { store, node } = this;
    const over = new AbortController();
    const state = { renewed: asked, isLost: false };
    const renewing = (async () => {
      while (!state.isLost) {
        await delay(node.lease / RENEWALS_PER_LEASE, undefined, { ref: false, signal: over.signal });
        const moment = this.#clock.now();
        const renewal = await store.renew(node).catch(() => undefined);
        state.isLost = renewal !== undefined && (renewal.fenced || renewal.lapsed || renewal.boot !== boot);
        if (renewal !== undefined && !state.isLost) state.renewed = moment;
      }
    })().catch(() => undefined);
    try {
      await this.#reconcile(this.#boot, isFull);
    } finally {
      over.abort();
      await renewing;
    }
    return state;
  }

  /** Registers all members again, or writes what was not written, and ends what the store should not have. */
  async #reconcile(boot: string, isFull: boolean): Promise<void> {
    this.#hasUnwritten = false;
    const members = [...this.#members];
    const isWritten = await reconcile(this.store, this.node, members, boot, isFull, this.#options.onUnknown);
    if (!isWritten) this.noteFailedWrite(undefined);
  }

  #count(registration: ReconciledSession['registration']): number {
    let count = 0;
    for (const member of this.#members) if (member.registration === registration) count += 1;
    return count;
  }

  /** Sessions may be added and removed while a renewal is under way, so the count is right within bounds. */
  #isExpected({ sessions }: Renewal, atLeast: number): boolean {
    const atMost = this.#count('yes') + this.#count('maybe') + this.#removed + this.waiting.count();
    return sessions >= atLeast - this.#removed - this.#count('maybe') && sessions <= atMost;
  }

  #fence(): void {
    this.#hasLostName = true;
    this.#change('fenced');
    for (const member of [...this.#members]) member.lost();
    this.#members.clear();
    this.#options.onFenced();
  }

  #change(state: ClusterState, err?: unknown): void {
    if (this.#state === state || (this.#hasLostName && state !== 'fenced')) return;
    const about = { node: this.node.name, state, previous: this.#state, err };
    this.#state = state;
    logState(this.#options.logger, about);
  }
}
