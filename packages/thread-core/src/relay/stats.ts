import type { EndpointState } from '../client/breaker.js';
import type { Counters, RelayStats } from './api.js';

/** What the statistics need of a session. */
export interface CountedSession {
  readonly isDetached: boolean;
  readonly journalBytes: number;
  readonly threadCount: number;
  readonly pending: number;
  readonly waiting: number;
  readonly traffic: Traffic;
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

/** `past`: the traffic of connections that are closed. */
export function readStats(
  sessions: ReadonlySet<CountedSession>,
  { sends, ...counters }: Counters,
  past: Traffic,
  refused: RelayStats['refused'],
  breakers: EndpointState[],
  cluster: RelayStats['cluster'],
): RelayStats {
  const now = { sessions: sessions.size, detached: 0, journalBytes: 0, threads: 0, pending: 0, waiting: 0 };
  const bytes = { ...past };
  for (const { isDetached, journalBytes, threadCount, pending, waiting, traffic } of sessions) {
    if (isDetached) now.detached += 1;
    now.journalBytes += journalBytes;
    now.threads += threadCount;
    now.pending += pending;
    now.waiting += waiting;
    addTraffic(bytes, traffic);
  }
  return { ...now, ...counters, sends: { ...sends }, bytes, refused: { ...refused }, breakers, cluster };
}
