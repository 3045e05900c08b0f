import type { ClusterState } from './cluster-state.js';

/** `relay.stats().cluster`: this node of the cluster. Counts are since the relay was created, `sessions` and `gateways` are now. */
export interface ClusterStats {
  /** Whether the store answers, and whether this node may write to it. */
  state: ClusterState;
  /** Sessions that this node has in the store: those that can be resumed, and those with threads. */
  sessions: number;
  /** Sessions of dead nodes whose chats this node has ended. */
  reaped: number;
  /** Resumable sessions that this node has taken over from others, and given to others. */
  claimed: number;
  handedOver: number;
  /** Connections of this node whose sessions are on other nodes, because something runs in them. */
  gateways: number;
}
