import type { Logger } from '../logger.js';
import { ClusterNode, type ClusterState } from './cluster-node.js';
import type { ClusterConfig } from './cluster-options.js';
import { Reaper } from './cluster-reaper.js';
import { ClusterSession } from './cluster-session.js';
import type { JsonValue, StoredSession } from './session-store.js';

/** What the cluster keeps of a session of this node. */
export interface ClusteredSession {
  readonly id: string;
  readonly identity: unknown;
  /** Another node owns the session now: its chats are not this node's to end. */
  onLost(): void;
}

export interface ClusterStats {
  state: ClusterState;
  /** Sessions that this node has in the store: those with threads. */
  sessions: number;
  /** Sessions of dead nodes whose chats this node has ended. */
  reaped: number;
}

export interface ClusterHost {
  readonly config: {
    readonly cleanupTimeout: number;
    readonly logger: Logger;
  };
  /** The key and the saved form of an identity. */
  describeIdentity(identity: unknown): { identityKey: string | undefined; identity: JsonValue | undefined };
  /** Ends the chats of a session whose node is gone. */
  endChatsOf(session: StoredSession): Promise<void>;
  /** Ends the sessions of an identity on this node. */
  endLocalSessions(identityKey: string): void;
}

/** What nodes tell each other. */
interface EndSessionsMessage {
  type: 'end-sessions';
  key: string;
}

/** A relay's part in the cluster: its node, its sessions in the store, and the reaper. */
export class Cluster {
  readonly #host: ClusterHost;
  readonly #node: ClusterNode;
  readonly #reaper: Reaper;
  /** Sessions that are being removed from the store. */
  readonly #closing = new Set<Promise<void>>();
  #listening: Promise<(() => Promise<void>) | undefined> | undefined;

  constructor({ store, node, lease }: ClusterConfig, host: ClusterHost) {
    const { cleanupTimeout, logger } = host.config;
    this.#host = host;
    this.#node = new ClusterNode({
      ...{ store, node, lease, logger },
      // Sessions that cannot be resumed have no use for a longer one. It bounds how long they go on without the store.
      grace: lease,
      onRenewed: () => this.#onRenewed(),
      onStray: async (sid) => {
        await this.#reaper.reapOne(sid);
      },
    });
    const endChats = (session: StoredSession): Promise<void> => host.endChatsOf(session);
    this.#reaper = new Reaper({ node: this.#node, cleanupTimeout, logger, endChats });
  }

  get stats(): ClusterStats {
    return { state: this.#node.state, sessions: this.#node.memberCount, reaped: this.#reaper.reaped };
  }

  start(): void {
    this.#node.start();
  }

  /** Leaves the cluster, when the sessions of this node are closed. */
  async stop(): Promise<void> {
    await Promise.all([...this.#closing, this.#reaper.stop()]);
    const stopListening = await this.#listening;
    await stopListening?.();
    await this.#node.stop();
  }

  /** Undefined if this node may act for its sessions at once; otherwise a promise that rejects if it may not. */
  check(): Promise<void> | undefined {
    return this.#node.check();
  }

  /** Registers a session as soon as it has a thread. */
  register(session: ClusteredSession): ClusterSession {
    return new ClusterSession(this.#node, session.id, {
      describe: () => ({
        sid: session.id,
        grace: this.#node.grace,
        ...this.#host.describeIdentity(session.identity),
      }),
      onLost: () => session.onLost(),
    });
  }

  /** Removes a session whose chats are ended. */
  unregister(session: ClusterSession): void {
    const closing = session.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  /** Ends the sessions of an identity on all other nodes, and those that have no living node. */
  async endSessions(identityKey: string): Promise<void> {
    const { store, node } = this.#node;
    const message: EndSessionsMessage = { type: 'end-sessions', key: identityKey };
    const others = (await store.nodes()).filter((name) => name !== node.name);
    await Promise.all(others.map((name) => store.post(name, { ...message })));
    const places = await store.sessionsOf(identityKey);
    const ownerless = places.filter(({ owner }) => owner === undefined);
    await Promise.all(ownerless.map(({ sid }) => this.#reaper.reapOne(sid)));
  }

  #onRenewed(): void {
    void this.#reaper.run();
    this.#listening ??= this.#node.store
      .onPost(this.#node.node, (message) => this.#onMessage(message))
      .catch(() => {
        this.#listening = undefined;
        return undefined;
      });
  }

  #onMessage(message: JsonValue): void {
    const { type, key } = Object(message) as Partial<EndSessionsMessage>;
    if (type === 'end-sessions' && typeof key === 'string') this.#host.endLocalSessions(key);
  }
}
