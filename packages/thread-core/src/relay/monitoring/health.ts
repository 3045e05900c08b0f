import type { RelayStats } from './stats-types.js';

/** The state of a relay, for health checks of load balancers and for people. */
export interface RelayHealth {
  /**
   * `ok`: everything works. `degraded`: the relay serves clients, but an agent does not answer, or the store of the cluster
   * is away. `unavailable`: it accepts no connections, or may not use its sessions: send clients to another node.
   */
  status: 'ok' | 'degraded' | 'unavailable';
  /** The relay is being closed. */
  closing: boolean;
  /** The endpoints whose circuit breaker is not closed. */
  breakers: RelayStats['breakers'];
  /** The state of the cluster's store, as this node sees it. Undefined without a cluster. */
  store: NonNullable<RelayStats['cluster']>['state'] | undefined;
}

export function readHealth(
  { breakers, cluster }: Pick<RelayStats, 'breakers' | 'cluster'>,
  closing: boolean,
): RelayHealth {
  const failing = breakers.filter(({ state }) => state !== 'closed');
  const store = cluster?.state;
  const isUnavailable = closing || store === 'fenced';
  const isDegraded = failing.length > 0 || (store !== undefined && store !== 'ok');
  const status = isUnavailable ? 'unavailable' : isDegraded ? 'degraded' : 'ok';
  return { status, closing, breakers: failing, store };
}
