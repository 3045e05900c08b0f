import type { ClusterState } from './cluster-node.js';

export interface ClusterStats {
  state: ClusterState;
  /** Sessions that this node has in the store: those with threads. */
  sessions: number;
  /** Sessions of dead nodes whose chats this node has ended. */
  reaped: number;
  /** Resumable sessions that this node has taken over from others, and given to others. */
  claimed: number;
  handedOver: number;
  /** Connections of this node whose sessions are on other nodes, because something runs in them. */
  gateways: number;
}
