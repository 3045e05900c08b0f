import { withTimeout } from '../timers.js';
import type { Cluster } from './cluster/cluster.js';
import type { MovableSession } from './cluster/movable-session.js';
import { parkSession } from './cluster/parking.js';
import type { CloseSummary, Counters } from './monitoring/stats-types.js';

/** A session that is closed with its relay. */
interface ClosingSession extends MovableSession {
  readonly isDetached: boolean;
  /** An `end` frame is held, or is being answered. */
  readonly hasUnansweredEnds: boolean;
  /** Lets pending sends end, and starts no new ones. */
  drain(): Promise<void>;
  /** Cancels what is still pending, and closes the connection. */
  shutDown(): void;
  terminate(): void;
}

export interface ClosingRelay {
  /** The current sessions. Connections that arrive meanwhile are closed at once. */
  readonly sessions: ReadonlySet<ClosingSession>;
  readonly config: { readonly cleanupTimeout: number };
  readonly telemetry: { readonly counters: Counters };
  readonly cluster: Cluster | undefined;
}

/** Milliseconds until a socket that does not answer the closing handshake is dropped. */
export const CLOSING_TIMEOUT_MS = 500;

/** Milliseconds for the store to take a session whose sends or chats have used all of the time. */
const PARK_MS = 250;

/** Milliseconds for the store to answer what it was asked last, if all of the time has been used. */
const STORE_TIMEOUT_MS = 250;

/** In a cluster clients are closed one after the other, at most this many milliseconds apart. */
const MAX_SPACING_MS = 20;

/**
 * Lets pending sends end for `drainTimeout`, and closes all sessions. In a cluster those that can be resumed are given up
 * for the other nodes; all other chats are ended, and the node leaves.
 */
export async function closeSessions(relay: ClosingRelay, drainTimeout: number): Promise<CloseSummary> {
  const sessions = [...relay.sessions];
  const before = { ...relay.telemetry.counters };
  const end = performance.now() + drainTimeout + relay.config.cleanupTimeout;
  const left = (): number => Math.max(0, end - performance.now());
  if (relay.cluster === undefined) await drainSessions(sessions, drainTimeout);
  else {
    relay.cluster.stopReaping();
    relay.cluster.closeGateways('The server is shutting down');
    await leaveCluster(sessions, drainTimeout, relay.config.cleanupTimeout);
    await withTimeout(relay.cluster.stopMoves(), left());
    // Those whose owners have answered since.
    relay.cluster.closeGateways('The server is shutting down');
    // Those that have come from other nodes meanwhile.
    const late = [...relay.sessions].filter((session) => !sessions.includes(session));
    await leaveCluster(late, 0, left());
  }
  closeAll(relay.sessions);
  const all = new Set([...sessions, ...relay.sessions]);
  const grace = setTimeout(() => {
    for (const session of relay.sessions) session.terminate();
  }, CLOSING_TIMEOUT_MS);
  await Promise.all([...all].map((session) => session.closed));
  clearTimeout(grace);
  const { ended, unconfirmed, orphans } = relay.telemetry.counters;
  const summary = {
    sessions: sessions.length,
    ended: ended + unconfirmed - before.ended - before.unconfirmed,
    failed: orphans - before.orphans,
  };
  await relay.cluster?.stop(Math.max(left(), STORE_TIMEOUT_MS));
  return summary;
}

/** Closes all sessions: their clients connect elsewhere. */
export function closeAll(sessions: Iterable<Pick<ClosingSession, 'shutDown'>>): void {
  for (const session of sessions) session.shutDown();
}

async function drainSessions(sessions: ClosingSession[], drainTimeout: number): Promise<void> {
  // No client can resume any more. With `onDisconnect: 'finish'` the sends of these sessions have time to end, as all others.
  for (const session of sessions) if (session.isDetached) session.evict();
  const drained = async (): Promise<void> => {
    // An `end` frame may come while the sends of another session end.
    do await Promise.all(sessions.map((session) => session.drain()));
    while (sessions.some(({ hasUnansweredEnds }) => hasUnansweredEnds));
  };
  await withTimeout(drained(), drainTimeout);
}

/** Closes each session in its turn, when its sends have ended, so that clients do not reach the other nodes all at once. */
async function leaveCluster(sessions: ClosingSession[], drainTimeout: number, cleanupTimeout: number): Promise<void> {
  const timers: NodeJS.Timeout[] = [];
  const after = (ms: number): Promise<void> => new Promise((resolve) => timers.push(setTimeout(resolve, ms)));
  const deadline = after(drainTimeout);
  const limit = after(drainTimeout + cleanupTimeout + PARK_MS);
  const spacing = Math.min(drainTimeout / Math.max(sessions.length, 1), MAX_SPACING_MS);
  const close = async (session: ClosingSession, index: number): Promise<void> => {
    const turn = index === 0 ? Promise.resolve() : after(index * spacing);
    // One that has ended is nobody's to continue, but its sends may still run.
    if (session.resumption?.hasBegun && !session.isEnding) {
      return parkSession(session, { turn, deadline, limit, cleanupTimeout });
    }
    await Promise.race([Promise.all([session.drain(), turn]), deadline]);
    session.shutDown();
  };
  await Promise.all(sessions.map(close));
  for (const timer of timers) clearTimeout(timer);
}
