import type { CheckAdmission } from '../admission/session-admission.js';
import type { Cluster } from '../cluster/cluster.js';
import type { ConnectionHost } from '../connection/connection.js';
import type { SessionConnection } from '../connection/session-connection.js';
import type { Telemetry } from '../monitoring/telemetry.js';
import type { ResumableSession, ResumableSessions } from '../resume/resumable-sessions.js';

/** What a session needs of its relay. */
export interface SessionHost<Member extends ResumableSession> extends ConnectionHost {
  readonly telemetry: Telemetry;
  readonly cluster: Cluster | undefined;
  /** It shuts down. */
  readonly isClosing: boolean;
  /** Undefined if the relay does not resume sessions. */
  readonly resumables: ResumableSessions<Member> | undefined;
  /** The key of an identity, undefined if it has none. */
  identityKey(identity: unknown): string | undefined;
  /** Decides whether a connection that is open already is accepted. */
  checkAdmission(...connection: Parameters<CheckAdmission>): Promise<void>;
  /** A session continues without this connection. */
  onConnectionLost(connection: SessionConnection): void;
  /** The connection is closed and the chats are ended. */
  onSessionEnd(session: Member): void;
}
