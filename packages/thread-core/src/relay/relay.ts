import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { CloseCode } from '@arc/thread-protocol';
import { MAX_TIMEOUT_MS } from '../values.js';
import { AdmissionControl } from './admission/admission.js';
import { answerOf, Handshake, NOT_AN_UPGRADE } from './admission/handshake.js';
import { Identities } from './admission/identities.js';
import { loadIdentity } from './admission/identity.js';
import { internHeaders } from './admission/intern-headers.js';
import type { Admission } from './admission/refusal.js';
import { guardUpgradeSocket, isUpgrade, removeUpgradeErrorHandler } from './admission/upgrade-socket.js';
import type { AgentSource, AttachOptions, RelayOptions, Session } from './api.js';
import { Cluster } from './cluster/cluster.js';
import { endChatsOf } from './cluster/former-session.js';
import { giveSession } from './cluster/handover.js';
import type { ClaimedSession } from './cluster/move-messages.js';
import type { SessionConnection } from './connection/session-connection.js';
import type { RelaySocket, WsOptions } from './connection/socket.js';
import { Sweeper } from './connection/sweeper.js';
import { type RelayHealth, readHealth } from './monitoring/health.js';
import { addTraffic, readStats } from './monitoring/stats.js';
import type { CloseSummary, RelayStats } from './monitoring/stats-types.js';
import { Telemetry } from './monitoring/telemetry.js';
import { type RelayConfig, readOptions } from './options.js';
import { ResumableSessions } from './resume/resumable-sessions.js';
import { ClientSession } from './session/session.js';
import type { SessionHost } from './session/session-host.js';
import { CLOSING_TIMEOUT_MS, closeAll, closeSessions } from './shutdown.js';

/** Creates a relay, which connects WebSocket clients to agents. Make one per server, or one per endpoint. */
export function createRelay<Identity = unknown, Context = unknown>(
  options: RelayOptions<Identity, Context> & AgentSource,
): Relay<Identity, Context> {
  return new Relay(options);
}

/**
 * A relay, made by `createRelay`: it connects WebSocket clients to agents.
 *
 * `Identity`: what `authenticate` returns. `Context`: what the host passes to it, the framework's own request.
 */
export class Relay<Identity = unknown, Context = unknown> implements SessionHost<ClientSession> {
  /** @internal */
  readonly config: RelayConfig;
  /** @internal */
  readonly telemetry: Telemetry;
  /** @internal */
  readonly sweeper: Sweeper;
  /** @internal */
  readonly cluster: Cluster | undefined;
  /** @internal */
  readonly resumables: ResumableSessions<ClientSession> | undefined;
  readonly #sessions = new Set<ClientSession>();
  /** The traffic of connections that are closed. */
  readonly #traffic = { received: 0, sent: 0 };
  readonly #admission: AdmissionControl;
  readonly #handshake: Handshake;
  readonly #identities: Identities;
  #closing: Promise<CloseSummary> | undefined;

  /** @throws TypeError that names the invalid option */
  constructor(options: RelayOptions<Identity, Context>) {
    this.config = readOptions(options);
    this.#identities = new Identities(this.config.identity, this.config.logger);
    this.#admission = new AdmissionControl(this.config, (identity) => this.#identities.keyOf(identity));
    this.#handshake = new Handshake(this.config);
    this.cluster = this.#joinCluster();
    const { resume } = this.config;
    this.resumables = resume === undefined ? undefined : new ResumableSessions(resume);
    this.telemetry = new Telemetry(this.config.hooks, this.config.logger);
    this.sweeper = new Sweeper(this.config, (pings, idleSweeps) => {
      for (const { connection } of this.#sessions) connection?.sweep(pings, idleSweeps);
      for (const { connection } of this.cluster?.gateways ?? []) connection.sweep(pings, idleSweeps);
    });
  }

  /** The sessions whose chats are not all ended yet. */
  get sessions(): ReadonlySet<Session<Identity>> {
    return this.#sessions as ReadonlySet<ClientSession & Session<Identity>>;
  }

  /** True once `close` was called. New connections are refused from then on. */
  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Serves a `ws` socket. Call it in the same turn of the event loop in which the socket was opened. A request that
   * `admit` accepted keeps its identity. With an `identity`, which may be undefined, the caller is trusted and nothing is
   * checked. Otherwise the connection is admitted or refused here.
   * @throws TypeError if the socket is attached already, if `client` is not an ArcClient, or is passed in a cluster
   */
  attach(
    socket: RelaySocket,
    request: IncomingMessage,
    options: AttachOptions<Identity, Context> = {},
  ): Session<Identity> {
    const decision = 'identity' in options ? undefined : this.#admission.decisionOn(request);
    const isAdmitted = decision !== undefined && 'identity' in decision;
    const known = isAdmitted ? { ...options, identity: decision.identity } : options;
    if (this.cluster !== undefined && options.client !== undefined) {
      throw new TypeError('client: cannot be passed in a cluster, whose other nodes could not end its chats');
    }
    internHeaders(request);
    const session = new ClientSession(this, options.client);
    session.connect(socket, request);
    removeUpgradeErrorHandler(request.socket);
    const refused = this.#admission.takeSlot(request);
    this.#sessions.add(session);
    this.sweeper.start();
    if (this.isClosing) {
      session.shutDown();
      setTimeout(() => session.terminate(), CLOSING_TIMEOUT_MS).unref();
    } else if (refused !== undefined) {
      session.onRefused(refused.closeCode, refused.message);
      setTimeout(() => session.terminate(), CLOSING_TIMEOUT_MS).unref();
    } else session.begin(known);
    return session as ClientSession & Session<Identity>;
  }

  /**
   * Takes an upgrade of any Node HTTP server, as its `upgrade` event gives it: answers it with an HTTP status if the
   * relay refuses it, else completes the handshake and attaches the socket. Never rejects. Gives the session, or
   * undefined if there is none. `context` is given to `authenticate`, `host` is as in `admit`.
   */
  async handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    { context, host }: { context?: Context; host?: string | undefined } = {},
  ): Promise<Session<Identity> | undefined> {
    guardUpgradeSocket(socket);
    try {
      const admission = isUpgrade(request) ? await this.admit(request, context ?? request, host) : undefined;
      const answer = admission === undefined ? NOT_AN_UPGRADE : answerOf(admission);
      const isRefused = admission === undefined || (answer !== undefined && this.config.refuseWith === 'status');
      if (!isRefused) return this.completeUpgrade(request, socket, head);
      this.#handshake.refuse(request, socket, answer ?? NOT_AN_UPGRADE);
    } catch (err) {
      this.config.logger.error({ err }, 'an upgrade failed');
      socket.destroy();
    }
    return undefined;
  }

  /** Completes the handshake of an upgrade that `admit` has decided about. @internal */
  completeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Session<Identity> | undefined {
    let session: Session<Identity> | undefined;
    this.#handshake.accept(request, socket, head, (webSocket) => {
      session = this.attach(webSocket, request);
    });
    return session;
  }

  /** Options for a `ws` server whose sockets are attached here. */
  get wsOptions(): WsOptions {
    return this.#handshake.wsOptions;
  }

  /**
   * Decides whether a connection is accepted, before its upgrade, and reserves a slot of `maxSessions` for it until its
   * socket is attached or gone. `context`, the framework's own request object, is given to `authenticate`. `host` is the
   * host that the client asked for, if the framework knows it better than the Host header does.
   */
  admit(request: IncomingMessage, context?: unknown, host?: string): Promise<Admission> {
    return this.#admission.admit(request, context, host);
  }

  /** As `admit`, for a connection that has its slot already. @internal */
  checkAdmission(...connection: Parameters<AdmissionControl['checkAdmission']>): Promise<void> {
    return this.#admission.checkAdmission(...connection);
  }

  /** Counters and gauges of this relay, as they are now. Takes time in proportion to the number of sessions. */
  stats(): RelayStats {
    const { refused } = this.#admission;
    const breakers = this.config.client.endpoints();
    const cluster = this.cluster?.stats;
    const others = [this.#traffic, this.cluster?.traffic];
    return readStats(this.#sessions, this.telemetry.counters, others, refused, breakers, cluster);
  }

  /** Whether clients can be served, for the health checks of load balancers. It only reads state, and makes no request. */
  health(): RelayHealth {
    const cluster = this.cluster?.stats;
    return readHealth({ breakers: this.config.client.endpoints(), cluster }, this.isClosing);
  }

  /**
   * The metrics of this relay in the text format of Prometheus (`text/plain; version=0.0.4`). Counters count from the relay's
   * creation on, histograms of durations from the first call on.
   * @throws Error if the package `prom-client`, an optional peer dependency, is not installed
   */
  metrics(): Promise<string> {
    return this.telemetry.metricsText(() => this.stats());
  }

  /**
   * Ends all sessions of a user and their chats: on this node and, in a cluster, on all others. `key` is what
   * `identity.key` returns for the user. Clients get close code 4401; connections of the user that are being authenticated
   * are refused.
   * @throws TypeError if the key is not a string
   * @throws StoreError if the store of the cluster cannot be reached; the sessions of this node are ended nevertheless
   */
  async endSessions(key: string): Promise<void> {
    if (typeof key !== 'string') throw new TypeError('endSessions: the key must be a string');
    this.signOutHere(key);
    await this.cluster?.endSessions(key);
  }

  /** @internal */
  signOutHere(key: string, before = Number.POSITIVE_INFINITY): void {
    this.#admission.refuseUser(key);
    this.cluster?.signOut(key, before);
    for (const session of this.#sessions) {
      // The identity is not known before. One that came from another node may have none before its client does.
      if (!session.isAdmitted || session.begunAt > before) continue;
      const own = session.resumption?.identityKey || this.#identities.keyOf(session.identity);
      if (own === key) session.close(CloseCode.Unauthorized, 'Signed out');
    }
  }

  #joinCluster(): Cluster | undefined {
    const { config } = this;
    if (config.cluster === undefined) return undefined;
    const cluster = new Cluster(config.cluster, {
      config,
      describeIdentity: (identity) => ({
        identityKey: this.#identities.keyOf(identity),
        identity: this.#identities.save(identity),
      }),
      endChatsOf: async (stored) => {
        await endChatsOf(stored, config);
      },
      signOutHere: (key, before) => this.signOutHere(key, before),
      onFenced: () => closeAll(this.#sessions),
      onGatewayLeft: () => this.#stopSweeper(),
      hasSession: (sid) => this.resumables?.has(sid) === true,
      restore: (claimed) => this.#restore(claimed),
      endSession: (sid) => this.resumables?.get(sid)?.close(CloseCode.Unauthorized, 'Signed out'),
      give: (request, to) => giveSession(this, this.resumables?.get(request.sid), request, to),
    });
    cluster.start();
    return cluster;
  }

  async #restore(claimed: ClaimedSession): Promise<void> {
    const { identity: options, authenticateTimeout } = this.config;
    const identity = await loadIdentity(claimed.session.identity, options, authenticateTimeout);
    const session = new ClientSession(this);
    this.#sessions.add(session);
    this.sweeper.start();
    session.restore(claimed, identity);
  }

  /**
   * Lets pending sends finish for `drainTimeout` (or `timeout`) milliseconds, then closes all connections with 1001
   * and ends all chats, side by side, within `cleanupTimeout`. In a cluster connections are closed with 1012, one after
   * the other, and sessions that can be resumed are left to the other nodes. Calling it again gives the same promise.
   */
  close(options: { timeout?: number } = {}): Promise<CloseSummary> {
    this.#closing ??= this.#close(Math.min(options.timeout ?? this.config.drainTimeout, MAX_TIMEOUT_MS));
    this.#admission.close();
    return this.#closing;
  }

  async #close(drainTimeout: number): Promise<CloseSummary> {
    const { config, telemetry, cluster } = this;
    const summary = await closeSessions({ sessions: this.#sessions, config, telemetry, cluster }, drainTimeout);
    this.sweeper.stop();
    if (config.ownsClient) await config.client.close();
    return summary;
  }

  /** @internal */
  identityKey(identity: unknown): string | undefined {
    return this.#identities.resumeKeyOf(identity);
  }

  /** @internal */
  onConnectionLost(connection: SessionConnection): void {
    addTraffic(this.#traffic, connection.traffic);
  }

  /** @internal */
  releaseSlot(): void {
    this.#admission.releaseSlot();
  }

  /** @internal */
  onSessionEnd(session: ClientSession): void {
    this.#sessions.delete(session);
    if (session.connection !== undefined) addTraffic(this.#traffic, session.connection.traffic);
    this.#stopSweeper();
  }

  #stopSweeper(): void {
    if (this.#sessions.size === 0 && !this.cluster?.gateways.size) this.sweeper.stop();
  }
}
