import { CloseCode } from '@arc/thread-protocol';
import type { Logger } from '../../logger.js';
import { withTimeout } from '../../timers.js';
import { ANONYMOUS } from '../admission/identity.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { addTraffic, type Traffic } from '../monitoring/stats.js';
import type { JsonValue, StoredSession } from '../store/session-store.js';
import { ClusterNode } from './cluster-node.js';
import type { ClusterConfig } from './cluster-options.js';
import { Reaper } from './cluster-reaper.js';
import type { ClusterStats } from './cluster-stats.js';
import { askOthers, type EndSessionsMessage } from './end-sessions.js';
import { Gateway, type GatewayOptions } from './gateway.js';
import { type LinkMessage, Links } from './links.js';
import type { MovesMessage } from './move-messages.js';
import type { ClaimedRecord, RecordOwner } from './record-owner.js';
import { type MovesHost, SessionMoves } from './session-moves.js';
import { SessionRecord } from './session-record.js';

/** What the cluster needs of a session of this node. */
export interface RecordedSession {
  readonly id: string;
  readonly identity: unknown;
  /** The request of its connection, if that is on this node. */
  readonly request: object | undefined;
  readonly resumption:
    | {
        readonly secretHash: string;
        readonly identityKey: string;
        /** Writes what the journal in the store does not have. Resolves to whether it has all of it. */
        readonly spill: { write(): Promise<boolean>; forgetStored(): void } | undefined;
      }
    | undefined;
  /** Another node owns the session now: its chats are not this node's to end. */
  onLost(): void;
}

export interface ClusterHost extends MovesHost {
  readonly config: {
    readonly cleanupTimeout: number;
    readonly maxPendingBytes: number;
    readonly resume: { readonly grace: number } | undefined;
    readonly logger: Logger;
  };
  /** The key and the saved form of an identity. */
  describeIdentity(identity: unknown): { identityKey: string | undefined; identity: JsonValue | undefined };
  /** Ends the chats of a session whose node is gone. */
  endChatsOf(session: StoredSession): Promise<void>;
  /** Ends the sessions of an identity on this node that had begun by that moment. */
  signOutHere(identityKey: string, before?: number): void;
  /** Another process has taken the name of this node, and with it all sessions that the store knew. */
  onFenced(): void;
  /** A gateway has left: its connection is closed, or has got its session. */
  onGatewayLeft(): void;
}

/** Unknown sessions that are remembered. */
const MAX_UNKNOWN_SESSIONS = 10_000;

/** An unknown session that was last found so many leases ago counts as newly found: it was elsewhere meanwhile. */
const MAX_UNKNOWN_LEASES = 3;

/** How often a node checks whether the owner of a gateway's session is alive. */
const CHECKS_PER_LEASE = 3;

/** A relay's part in the cluster: its node, its sessions in the store, and the reaper. */
export class Cluster {
  readonly #host: ClusterHost;
  readonly #node: ClusterNode;
  readonly #reaper: Reaper;
  readonly moves: SessionMoves;
  readonly links: Links;
  /** The sockets of this node whose sessions are on other nodes. */
  readonly gateways = new Set<Gateway>();
  /** The traffic of gateways that are closed. */
  readonly #pastTraffic: Traffic = { received: 0, sent: 0 };
  /** Sessions that the store has of this node, and that this node does not know: when each was found first. */
  readonly #unknownSessions = new Map<string, number>();
  /** Sessions that are being removed from the store. */
  readonly #unregistering = new Set<Promise<void>>();
  /** No session is taken any more. */
  #isStopping = false;
  #listening: Promise<(() => Promise<void>) | undefined> | undefined;

  constructor({ store, node, lease }: ClusterConfig, host: ClusterHost) {
    const { cleanupTimeout, logger } = host.config;
    this.#host = host;
    this.#node = new ClusterNode({
      store,
      node,
      lease,
      logger,
      // Sessions that cannot be resumed need no longer grace. It bounds how long they continue without the store.
      grace: lease,
      // The other nodes may not have reached the store for as long.
      onBack: () => this.#reaper.pause(lease),
      onRenewed: () => this.#onRenewed(),
      onFenced: () => {
        this.closeGateways('The node has lost its name');
        host.onFenced();
      },
      onUnknown: (sid) => this.#onUnknown(sid),
    });
    this.moves = new SessionMoves(this.#node, host);
    this.links = new Links(this.#node, (request) => this.moves.take(request));
    const endChats = (session: StoredSession): Promise<void> => host.endChatsOf(session);
    this.#reaper = new Reaper({ node: this.#node, cleanupTimeout, logger, endChats });
  }

  get stats(): ClusterStats {
    const { claimed, handedOver } = this.moves;
    const { state, memberCount: sessions } = this.#node;
    return { state, sessions, reaped: this.#reaper.reaped, claimed, handedOver, gateways: this.gateways.size };
  }

  /** The traffic of the gateways, past ones included. */
  get traffic(): Traffic {
    const traffic = { ...this.#pastTraffic };
    for (const { connection } of this.gateways) addTraffic(traffic, connection.traffic);
    return traffic;
  }

  start(): void {
    this.#node.start();
  }

  /** Closes the sockets of this node whose sessions are on other nodes: their clients reconnect elsewhere. */
  closeGateways(reason: string): void {
    for (const gateway of this.gateways) gateway.lose(CloseCode.ServiceRestart, reason);
  }

  /** Closes the sockets of a user whose sessions are on other nodes, and ends those that were on their way here at that moment. */
  signOut(identityKey: string, before: number): void {
    if (identityKey === ANONYMOUS) return;
    this.moves.signOuts.remember(identityKey, [], Math.min(before, performance.now()));
    for (const gateway of this.gateways) {
      if (gateway.identityKey === identityKey && gateway.begunAt <= before)
        gateway.onViolation(CloseCode.Unauthorized, 'Signed out');
    }
  }

  /** Takes no more sessions from other nodes. Resolves when those that were on their way are here, or are not coming. */
  async stopMoves(): Promise<void> {
    this.#isStopping = true;
    await this.moves.stop();
  }

  /** Begins to end no more sessions of dead nodes. */
  stopReaping(): void {
    void this.#reaper.stop();
  }

  /** Leaves the cluster, when the sessions of this node are removed from the store, or after `timeout` milliseconds. */
  async stop(timeout: number): Promise<void> {
    this.#isStopping = true;
    await withTimeout(this.#finish(), timeout);
    await this.#node.stop();
  }

  async #finish(): Promise<void> {
    await Promise.all([...this.#unregistering, this.#reaper.stop()]);
    const stopListening = await this.#listening;
    await stopListening?.();
  }

  /** Whether no other node can have claimed a session of this one. */
  get isLeaseGood(): boolean {
    return this.#node.isLeaseGood;
  }

  /** Undefined if this node may act for its sessions at once; otherwise a promise that rejects if it may not. */
  check(): Promise<void> | undefined {
    return this.#node.check();
  }

  /** Makes what keeps a session in the store. `claimed`: the store has it already, and it was another node's. */
  createRecord(session: RecordedSession, claimed?: ClaimedRecord): SessionRecord {
    this.#unknownSessions.delete(session.id);
    this.#node.givenUp.forget(session.id);
    const describe = (): ReturnType<RecordOwner['describe']> => {
      const { id: sid, resumption, identity } = session;
      const described = this.#host.describeIdentity(identity);
      if (resumption === undefined) return { sid, grace: this.#node.grace, ...described };
      const { secretHash, identityKey } = resumption;
      const grace = Math.max(this.#host.config.resume?.grace ?? 0, this.#node.grace);
      return { sid, grace, ...described, secretHash, identityKey };
    };
    const writeJournal = async (): Promise<boolean> => (await session.resumption?.spill?.write()) !== false;
    const owner: RecordOwner = {
      describe,
      writeJournal,
      isConnected: () => session.request !== undefined,
      onRegisteredAgain: () => session.resumption?.spill?.forgetStored(),
      onLost: () => session.onLost(),
    };
    return new SessionRecord(this.#node, session.id, owner, claimed);
  }

  /** Connects a socket of this node to its session on another node. */
  openGateway(
    connection: SessionConnection,
    options: Omit<GatewayOptions, 'links' | 'store' | 'maxKeptBytes' | 'interval' | 'onLeft'>,
  ): Gateway {
    const { store, node } = this.#node;
    const gateway = new Gateway(connection, {
      ...options,
      links: this.links,
      store,
      interval: node.lease / CHECKS_PER_LEASE,
      maxKeptBytes: this.#host.config.maxPendingBytes,
      onLeft: (left, isTaken) => {
        this.gateways.delete(left);
        // From here on a session that has taken it counts it.
        if (!isTaken) addTraffic(this.#pastTraffic, connection.traffic);
        this.#host.onGatewayLeft();
      },
    });
    this.gateways.add(gateway);
    return gateway;
  }

  /** Removes a session whose chats are ended. */
  unregister(session: SessionRecord): void {
    const unregistering = session.unregister().finally(() => this.#unregistering.delete(unregistering));
    this.#unregistering.add(unregistering);
  }

  /** Ends the sessions of an identity on all other nodes, and those that have no living node. */
  async endSessions(identityKey: string): Promise<void> {
    // That is not one user.
    if (identityKey === ANONYMOUS) return;
    const { store } = this.#node;
    const sids = (await store.sessionsOf(identityKey)).map(({ sid }) => sid);
    this.moves.signOuts.remember(identityKey, sids);
    await askOthers(this.#node, { type: 'end-sessions', key: identityKey, sids }, !this.#reaper.isPaused);
    const places = await store.sessionsOf(identityKey);
    const ownerless = places.filter(({ owner }) => owner === undefined);
    await Promise.all(ownerless.map(({ sid }) => this.#reaper.reapOne(sid)));
  }

  #onRenewed(): void {
    if (this.#isStopping) return;
    void this.#reaper.run();
    this.#listening ??= this.#node.store
      .onPost(this.#node.node, (message) => this.#onMessage(message))
      .catch(() => {
        this.#listening = undefined;
        return undefined;
      });
  }

  /**
   * A session that is handed over is in the store before this node knows it. So it is ended only if it is still unknown a
   * lease later: renewals may follow each other at once. One that a client has asked for here is taken instead.
   */
  async #onUnknown(sid: string): Promise<void> {
    if (this.#isStopping || this.moves.isExpected(sid) || this.moves.adopt(sid)) return;
    const { lease } = this.#node.node;
    const now = performance.now();
    const age = now - (this.#unknownSessions.get(sid) ?? Number.NEGATIVE_INFINITY);
    if (age < lease) return;
    this.#unknownSessions.delete(sid);
    if (age < lease * MAX_UNKNOWN_LEASES) {
      // Not awaited further: the renewal, of which this is a part, must not wait for an agent.
      if (!(await this.#reaper.beginOne(sid))) this.#unknownSessions.set(sid, now - lease);
    } else if (this.#hasRoomForUnknown(now)) this.#unknownSessions.set(sid, now);
  }

  /** Those that find no room have their turn when others are ended: to forget some for them would forget all in the end. */
  #hasRoomForUnknown(now: number): boolean {
    if (this.#unknownSessions.size < MAX_UNKNOWN_SESSIONS) return true;
    const [oldest] = this.#unknownSessions;
    if (oldest === undefined || now - oldest[1] < this.#node.node.lease * MAX_UNKNOWN_LEASES) return false;
    return this.#unknownSessions.delete(oldest[0]);
  }

  #onMessage(message: JsonValue): void {
    const received = Object(message) as EndSessionsMessage | MovesMessage | LinkMessage;
    if (received.type === 'end-sessions') {
      const { key, sids, ago } = received;
      const before = ago === undefined ? undefined : performance.now() - ago;
      this.#host.signOutHere(key, before);
      this.moves.signOuts.remember(key, sids, before);
    } else if (received.type === 'link') this.links.onMessage(received);
    else if (received.type === 'move' || received.type === 'move-answer') this.moves.onMessage(received);
  }
}
