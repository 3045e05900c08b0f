import type { Logger } from '../../logger.js';

/**
 * `ok`: the store has all of this node's sessions. `degraded`: it answers, but does not take all writes. `away`: it
 * does not answer; open threads continue. `fenced`: this node may have lost its sessions, and sends nothing.
 */
export type ClusterState = 'ok' | 'degraded' | 'fenced' | 'away';

/** Logs a change, once. */
export function logState(
  logger: Logger,
  about: { node: string; state: ClusterState; previous: ClusterState; err: unknown },
): void {
  if (about.state === 'ok') logger.info(about, 'the node is in the cluster');
  else if (about.state === 'fenced') {
    logger.error(about, 'the node may have lost its sessions to another process: it sends nothing more');
  } else if (about.state === 'away') logger.error(about, "the cluster's store is away");
  else logger.warn(about, "the cluster's store does not take all writes");
}
