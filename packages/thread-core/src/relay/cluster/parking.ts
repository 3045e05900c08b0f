import { setTimeout as delay } from 'node:timers/promises';
import { withTimeout } from '../../timers.js';
import { FencedError, type SessionState, StoreError } from '../store/session-store.js';
import { type MovableSession, stateOf } from './movable-session.js';
import type { SessionRecord } from './session-record.js';

export interface ParkOptions {
  /** Fulfilled when it may be parked. */
  readonly turn: Promise<unknown>;
  /** Fulfilled when its sends may run no longer, and the store is asked for the last time. */
  readonly deadline: Promise<unknown>;
  /** Fulfilled when no answer of the store is awaited any more. Default: each is awaited. */
  readonly limit?: Promise<unknown>;
  /** Milliseconds for chats that are being ended. */
  readonly cleanupTimeout: number;
  /**
   * The store has not taken it: it stays here, and the frames that waited are given back. Default: nobody has it, and other nodes
   * claim it when this one is gone.
   */
  readonly onKept?: ((waiting: string[]) => void) | undefined;
}

/** Attempts to park a session, at least. One that got no answer may have been carried out: the next one tells. */
const MIN_PARK_ATTEMPTS = 2;

/** Milliseconds between two attempts: each pause is twice as long as the one before, up to the longest. */
const FIRST_PARK_PAUSE_MS = 50;
const MAX_PARK_PAUSE_MS = 1000;

/**
 * What waits in a session is lost if the store does not take it. So this asks again until the deadline: Redis may be restarting.
 * It ends without having done it if the session begins to end: its user may be signed out.
 */
async function park(
  session: MovableSession,
  record: SessionRecord,
  state: () => SessionState,
  deadline: Promise<unknown>,
): Promise<void> {
  let isPastDeadline = false;
  void deadline.then(() => {
    isPastDeadline = true;
  });
  let pause = FIRST_PARK_PAUSE_MS;
  for (let attempt = 1; !session.isEnding; attempt += 1) {
    try {
      return await record.park(state);
    } catch (error) {
      if (error instanceof FencedError || (isPastDeadline && attempt >= MIN_PARK_ATTEMPTS)) throw error;
    }
    await delay(pause);
    pause = Math.min(pause * 2, MAX_PARK_PAUSE_MS);
  }
}

async function isMovedBefore(deadline: Promise<unknown>, moving: Promise<unknown>): Promise<boolean> {
  return await Promise.race([moving.then(() => true), deadline.then(() => false)]);
}

/** @throws StoreError when no answer is awaited any more */
async function before(limit: Promise<unknown> | undefined, parked: Promise<void>): Promise<void> {
  const timeout = limit?.then(() => Promise.reject(new StoreError('away', 'The session was not taken in time')));
  await Promise.race(timeout === undefined ? [parked] : [parked, timeout]);
}

/**
 * Gives a session up for the other nodes: this one shuts down, or the session has no connection and nothing in it. Its sends
 * may end until the deadline; those that have not begun move with it.
 */
export async function parkSession(
  session: MovableSession,
  { turn, deadline, limit, cleanupTimeout, onKept }: ParkOptions,
): Promise<void> {
  const { resumption, record } = session;
  if (session.isEnding || resumption === undefined || record === undefined) return;
  // Until it has its turn, its client may send something, or come to another node, which asks for it.
  if (resumption.isUnproven && onKept === undefined) await Promise.race([turn, deadline]);
  const { moving } = resumption;
  // If it does not move, it is marked as leaving at once: the next message may be another node's question for it.
  const isKnown = moving === undefined || (await isMovedBefore(deadline, moving));
  if (session.isEnding) return;
  if (!isKnown || resumption.isUnproven) {
    // Its position is not stored, because it may be behind what the client has seen. The next owner asks the client.
    if (onKept !== undefined) return onKept([]);
    record.release();
    return session.onLost();
  }
  resumption.isLeaving = true;
  const ids = session.messageIds();
  const waiting = [...(session.existingSends?.takeWaiting() ?? []), ...session.takeHeldTexts()];
  const parking = (async () => {
    await Promise.race([Promise.all([session.whenAtRest(), turn]), deadline]);
    const running = new Set(session.messageIds());
    session.existingSends?.cancelAll();
    session.threads.cancelSends();
    await withTimeout(session.whenAtRest(), cleanupTimeout);
    if (session.isEnding) return;
    const pending = ids.filter((id) => !running.has(id));
    const state = (): SessionState => stateOf(resumption, record, waiting, pending);
    const parked = park(session, record, state, deadline).catch(async (error: unknown) => {
      // It may have been carried out all the same.
      if (onKept !== undefined) await record.findOwner();
      throw error;
    });
    await before(limit, parked);
  })();
  resumption.moving = parking.catch(() => undefined);
  try {
    await parking;
  } catch (error) {
    record.failed(error);
    if (onKept !== undefined && !session.isEnding) {
      resumption.isLeaving = false;
      resumption.moving = undefined;
      return onKept(waiting);
    }
    // The store has the threads. Other nodes can claim them when this one is gone.
    record.release();
  }
  if (!session.isEnding) session.onLost();
}
