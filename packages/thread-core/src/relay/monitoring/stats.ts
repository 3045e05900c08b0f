import type { EndpointState } from '../../client/breaker.js';
import type { Counters, RelayStats } from './stats-types.js';

/** What the statistics need of a session. */
export interface CountedSession {
  readonly isDetached: boolean;
  readonly resumption: { readonly journal: { readonly bytes: number } } | undefined;
  readonly existingThreads: { readonly threadCount: number } | undefined;
  readonly existingSends: { readonly size: number; readonly waiting: number } | undefined;
  readonly connection: { readonly traffic: Traffic } | undefined;
}

/** Bytes from and to a client, framing included. */
export interface Traffic {
  received: number;
  sent: number;
}

export function addTraffic(total: Traffic, { received, sent }: Traffic): void {
  total.received += received;
  total.sent += sent;
}

/** `others`: the traffic of connections that are closed, and of those whose sessions are on other nodes. */
export function readStats(
  sessions: ReadonlySet<CountedSession>,
  { sends, rejected, ...counters }: Counters,
  others: readonly (Traffic | undefined)[],
  refused: RelayStats['refused'],
  breakers: EndpointState[],
  cluster: RelayStats['cluster'],
): RelayStats {
  const now = { sessions: sessions.size, detached: 0, journalBytes: 0, threads: 0, pending: 0, waiting: 0 };
  const bytes = { received: 0, sent: 0 };
  for (const traffic of others) if (traffic !== undefined) addTraffic(bytes, traffic);
  for (const { isDetached, resumption, existingThreads, existingSends, connection } of sessions) {
    if (isDetached) now.detached += 1;
    now.journalBytes += resumption?.journal.bytes ?? 0;
    now.threads += existingThreads?.threadCount ?? 0;
    now.pending += existingSends?.size ?? 0;
    now.waiting += existingSends?.waiting ?? 0;
    if (connection !== undefined) addTraffic(bytes, connection.traffic);
  }
  const copies = { sends: { ...sends }, rejected: { ...rejected }, refused: { ...refused } };
  return { ...now, ...counters, ...copies, bytes, breakers, cluster };
}
