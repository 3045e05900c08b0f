import type { EndpointState } from '../../client/breaker.js';
import type { RefusalReason } from '../admission/refusal.js';
import type { SendState } from '../api.js';
import type { ClusterStats } from '../cluster/cluster-stats.js';
import type { RejectionReason } from './rejection.js';

/** What `relay.close()` did. */
export interface CloseSummary {
  /** Sessions that were open. */
  sessions: number;
  /** Chats that were ended. */
  ended: number;
  /** Chats that could not be ended. */
  failed: number;
}

/** Counted since the relay was created. */
export interface Counters {
  /** Sends that ended, by the type of their last frame. */
  sends: Record<SendState, number>;
  /** chat.start requests, and those among them that replaced a lost chat. */
  started: number;
  restarted: number;
  /** Chats that were ended. */
  ended: number;
  /** Chats whose start was interrupted and that the agent did not have when they were to be ended. */
  unconfirmed: number;
  /** chat.end requests that failed, retries included. */
  failedEnds: number;
  /** Sessions that continued on another connection. */
  resumed: number;
  /** Sends that were pending when a session without a connection ended. */
  interrupted: number;
  /** Orphaned chats: `chat.end` failed. Each is logged with its agent and chat id. */
  orphans: number;
  /** Frames of clients that were answered with an error, and for which nothing was sent to an agent, by reason. */
  rejected: Record<RejectionReason, number>;
}

/** `relay.stats()`: its own fields are as of now, those of `Counters` are since the relay was created. */
export interface RelayStats extends Counters {
  /** Sessions whose chats are not all ended yet. */
  sessions: number;
  /** Those among them that have no connection. */
  detached: number;
  /** Bytes of frames that resumable sessions keep until they are acknowledged. */
  journalBytes: number;
  threads: number;
  /** Sends that run or wait, and those among them that wait. */
  pending: number;
  waiting: number;
  /** Bytes from and to the clients, framing included. */
  bytes: { received: number; sent: number };
  /** Connections that were refused, by reason. */
  refused: Record<RefusalReason, number>;
  /** The circuit breaker of each endpoint of the relay's client. */
  breakers: EndpointState[];
  /** Undefined without the option `cluster`. */
  cluster: ClusterStats | undefined;
}
