import type { ArcClient } from '../../client/arc-client.js';
import type { ChatOutcome } from '../../threads/ending.js';
import type { ThreadHooks, ThreadsOwner } from '../../threads/options.js';
import type { ThreadEntry } from '../../threads/store.js';
import { ThreadManager } from '../../threads/thread-manager.js';
import type { Session } from '../api.js';
import type { Cluster, RecordedSession } from '../cluster/cluster.js';
import type { ClaimedRecord } from '../cluster/record-owner.js';
import type { SessionRecord } from '../cluster/session-record.js';
import type { Telemetry } from '../monitoring/telemetry.js';
import type { RelayConfig } from '../options.js';

/** What the threads of a session need of the relay. */
export interface SessionThreadsHost {
  readonly config: RelayConfig;
  readonly telemetry: Telemetry;
  readonly cluster: Cluster | undefined;
}

/** The threads of one session: counts and reports their chats, and keeps them in the store of a cluster. */
export class SessionThreads implements ThreadHooks {
  readonly manager: ThreadManager;
  readonly #session: Session;
  readonly #host: SessionThreadsHost;
  /** What the store of the cluster has of this session. */
  readonly record: SessionRecord | undefined;

  /** `claimed`: the record of a session that another node had. */
  constructor(
    session: Session & RecordedSession & ThreadsOwner,
    client: ArcClient,
    host: SessionThreadsHost,
    claimed?: ClaimedRecord,
  ) {
    const { busy, cleanupTimeout, logger, sessionToken } = host.config;
    const token = sessionToken === undefined ? undefined : () => sessionToken(session);
    this.#session = session;
    this.#host = host;
    this.record = host.cluster?.createRecord(session, claimed);
    this.manager = new ThreadManager(client, {
      busy,
      cleanupTimeout,
      logger,
      hooks: this,
      token,
      observer: this.record,
      session,
      threadsOwner: session,
    });
    if (claimed !== undefined) this.manager.importThreads(claimed.threads);
  }

  onStart(thread: ThreadEntry): void {
    this.#host.telemetry.chatStarted(this.#session, thread);
  }

  onRestart(thread: ThreadEntry): void {
    this.#host.telemetry.chatRestarted(this.#session, thread);
  }

  onEnd(outcome: ChatOutcome): void {
    this.#host.telemetry.chatEnded(this.#session, outcome);
  }

  /** A promise if another node may have the session by now. Its threads are disowned if it has. */
  confirm(): Promise<void> | undefined {
    return this.record?.beforeEnd();
  }

  /** The session has ended, and its chats with it. */
  unregister(): void {
    if (this.record !== undefined) this.#host.cluster?.unregister(this.record);
  }
}
