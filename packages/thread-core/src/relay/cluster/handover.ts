import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { CloseCode } from '@arc/thread-protocol';
import { decode } from '../../bytes.js';
import { withTimeout } from '../../timers.js';
import { disconnect, waitForClient } from '../resume/resuming.js';
import type { ResumingSession } from '../resume/resuming-session.js';
import type { Resumption } from '../resume/resumption.js';
import type { PendingSends } from '../sends/pending-sends.js';
import type { SessionHost } from '../session/session-host.js';
import { FencedError, type SessionState, StoreError } from '../store/session-store.js';
import type { ClusterSession } from './cluster-session.js';
import { RemoteConnection } from './remote-connection.js';
import type { MoveAnswer, ResumeRequest } from './session-moves.js';

/** What moving needs of a session. */
export interface MovableSession extends ResumingSession {
  readonly existingSends: PendingSends | undefined;
  /** Nothing runs or waits, no chat is being ended, and no frame is held. */
  readonly isAtRest: boolean;
  whenAtRest(): Promise<void>;
  /** Removes the frames that are held, and returns their texts. */
  takeHeldTexts(): string[];
  /** Another node continues the session: nothing is ended here. */
  onLost(): void;
}

/** The state of a session that another node needs to continue it. */
function stateOf(
  { journal, got }: Resumption,
  { threads }: ClusterSession,
  waiting: string[],
  pending: (string | number)[],
): SessionState {
  const frames = journal.frames().map(decode);
  return {
    ...{ seq: journal.lastSeq, got, pending, threads, waiting },
    journal: { firstSeq: journal.acknowledged + 1, frames },
  };
}

/**
 * Gives a session to the node to which its client has connected. If something runs, that node gets a link, by which
 * the client is served until the session is at rest.
 */
export async function giveSession<Member extends MovableSession>(
  host: SessionHost<Member>,
  session: Member | undefined,
  request: ResumeRequest,
  to: string,
): Promise<MoveAnswer> {
  if (session === undefined) return 'retry';
  const { resumption, record } = session;
  const links = host.cluster?.links;
  if (session.isEnding || resumption === undefined || record === undefined || links === undefined) return 'expired';
  if (resumption.moving !== undefined) {
    await resumption.moving;
    return 'retry';
  }
  if (!resumption.canResume(request.seq, request.sent)) return 'gap';
  if (session.connection !== undefined) {
    disconnect(host, session, session.connection, CloseCode.SessionTakenOver, 'Taken over by a newer connection');
  }
  resumption.stop();
  host.resumables?.attach(session);
  resumption.settle(request.seq, request.sent);
  if (session.isAtRest) {
    if (await handOver(host, session, resumption, record, to)) return 'moved';
    // A newer connection may have come meanwhile.
    if (!session.isEnding && session.connection === undefined) waitForClient(host, session, resumption);
    return 'retry';
  }
  const spill = resumption.startSpill(record);
  const link = randomUUID();
  const remote = new RemoteConnection(host.config, session, { links, link, peer: to }, resumption, spill);
  session.connection = remote;
  resumption.resumeRemotely(remote);
  const offer = { link, seq: resumption.journal.lastSeq, got: resumption.got, pending: session.pendingIds() };
  session.onBackpressure();
  host.telemetry.sessionResumed(session);
  if (!(await spill.write())) {
    if (session.connection === remote) release(host, session, resumption, remote);
    return 'retry';
  }
  void moveAtRest(host, session, resumption, record, remote, to);
  // Without a connection the link was lost meanwhile, and no newer connection has the session.
  return session.connection === remote ? offer : session.connection === undefined ? 'retry' : 'replaced';
}

/**
 * Hands a session in which nothing runs over. Resolves to whether that node has it now. Without an answer it may have it all the
 * same: this rejects when a renewal has told, or when only a renewal lets this node act again.
 */
function attemptHandover<Member extends MovableSession>(
  { cluster }: SessionHost<Member>,
  resumption: Resumption,
  record: ClusterSession,
  to: string,
): Promise<boolean> {
  const state = (): SessionState => stateOf(resumption, record, [], []);
  const attempt = record.handover(to, state).catch(async (error: unknown) => {
    await cluster?.renewUntilTold();
    throw error;
  });
  resumption.moving = attempt.catch(() => undefined);
  return attempt;
}

/** Hands the session over. Resolves to whether that node has it now; never rejects. */
async function handOver<Member extends MovableSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  record: ClusterSession,
  to: string,
): Promise<boolean> {
  try {
    if (!(await attemptHandover(host, resumption, record, to))) return false;
    session.onLost();
    return true;
  } catch (error) {
    record.failed(error);
    return false;
  } finally {
    resumption.moving = undefined;
  }
}

/** The session moves to the node that has its client as soon as nothing runs. */
async function moveAtRest<Member extends MovableSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  record: ClusterSession,
  remote: RemoteConnection,
  to: string,
): Promise<void> {
  const isLinked = (): boolean => session.connection === remote && !session.isEnding && !resumption.isLeaving;
  do await session.whenAtRest();
  while (isLinked() && !session.isAtRest);
  if (!isLinked()) return;
  // Frames that arrive from now on are left to the next owner.
  resumption.isLeaving = true;
  try {
    if (await attemptHandover(host, resumption, record, to)) {
      session.connection = undefined;
      remote.hasMoved();
      session.onLost();
      return;
    }
  } catch (error) {
    record.failed(error);
  } finally {
    resumption.moving = undefined;
  }
  resumption.isLeaving = false;
  if (session.connection === remote && !session.isEnding) release(host, session, resumption, remote);
}

/** The link cannot be kept: the client has to reconnect. */
function release<Member extends MovableSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  remote: RemoteConnection,
): void {
  disconnect(host, session, remote, CloseCode.ServiceRestart, 'Try again');
  waitForClient(host, session, resumption);
}

export interface ParkOptions {
  /** Fulfilled when it may be parked. */
  readonly turn: Promise<unknown>;
  /** Fulfilled when its sends may run no longer, and the store is asked for the last time. */
  readonly deadline: Promise<unknown>;
  /** Fulfilled when no answer of the store is awaited any more. Default: each is awaited. */
  readonly limit?: Promise<unknown>;
  /** Milliseconds for chats that are being ended. */
  readonly cleanupTimeout: number;
  /** The store has not taken it: it stays here. Default: nobody has it, and other nodes claim it when this one is gone. */
  readonly onKept?: (() => void) | undefined;
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
  record: ClusterSession,
  state: () => SessionState,
  deadline: Promise<unknown>,
): Promise<void> {
  let isOver = false;
  void deadline.then(() => {
    isOver = true;
  });
  let pause = FIRST_PARK_PAUSE_MS;
  for (let attempt = 1; !session.isEnding; attempt += 1) {
    try {
      return await record.park(state);
    } catch (error) {
      if (error instanceof FencedError || (isOver && attempt >= MIN_PARK_ATTEMPTS)) throw error;
    }
    await delay(pause);
    pause = Math.min(pause * 2, MAX_PARK_PAUSE_MS);
  }
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
  const { moving } = resumption;
  // If it does not move, it is marked as leaving at once: the next message may be another node's question for it.
  const isKnown = await (moving === undefined
    ? true
    : Promise.race([moving.then(() => true), deadline.then(() => false)]));
  if (session.isEnding) return;
  if (!isKnown || resumption.isUnproven) {
    // To write down how far it has come is to say that it is known. Whoever claims it goes by the client.
    if (onKept !== undefined) return onKept();
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
    await withTimeout(session.whenAtRest(), cleanupTimeout);
    if (session.isEnding) return;
    const pending = ids.filter((id) => !running.has(id));
    const state = (): SessionState => stateOf(resumption, record, waiting, pending);
    const parked = park(session, record, state, deadline);
    await (limit === undefined
      ? parked
      : Promise.race([
          parked,
          limit.then(() => Promise.reject(new StoreError('away', 'The session was not taken in time'))),
        ]));
  })();
  resumption.moving = parking.catch(() => undefined);
  try {
    await parking;
  } catch (error) {
    record.failed(error);
    if (onKept !== undefined && !session.isEnding) {
      resumption.isLeaving = false;
      resumption.moving = undefined;
      return onKept();
    }
    // The store has the threads. Other nodes can claim them when this one is gone.
    record.release();
  }
  if (!session.isEnding) session.onLost();
}
