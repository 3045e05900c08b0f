import { CloseCode } from '@arc/thread-protocol';
import type { SessionHost } from '../session/session-host.js';
import type { ResumingSession } from './resuming-session.js';
import type { Resumption } from './resumption.js';

/** Close codes of connections that the client lost, and did not choose to end: the session waits for another one. */
const LOST_CODES: readonly number[] = [CloseCode.GoingAway, CloseCode.Abnormal];

/**
 * A connection has ended. Returns true if it was lost: then the session waits for another one, or ends here if it has
 * nothing worth keeping. In a cluster the store keeps that, because frames may be under way that the client is to send again.
 * Returns false if the caller has to end the session.
 */
export function detach<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  code: number,
): boolean {
  const { resumption, connection, isEnding } = session;
  if (resumption === undefined || connection === undefined || isEnding || !LOST_CODES.includes(code)) return false;
  host.onConnectionLost(connection);
  connection.release();
  session.connection = undefined;
  resumption.stop();
  if (!session.isWorthKeeping) {
    if (host.cluster !== undefined && resumption.hasBegun && host.resumables?.mayPark(session)) session.park();
    else session.complete();
    return true;
  }
  waitDetached(host, session);
  return true;
}

/** A session has lost its connection, and waits here for another one. */
export function waitDetached<Member extends ResumingSession>(host: SessionHost<Member>, session: Member): void {
  host.config.logger.info({ session: session.id }, 'a connection was lost; its session waits for the client');
  session.onBackpressure();
  host.telemetry.sessionDetached(session);
  if (!session.isEnding && session.resumption !== undefined) waitForClient(host, session, session.resumption);
}

/**
 * A session has no connection: it waits for one for the grace period. In a cluster its frames are in the store.
 * `isClientComing`: its client is about to connect, so it counts among those that wait, and can be ended for them, only if it is
 * still without a connection at the end of this turn.
 */
export function waitForClient<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  isClientComing = false,
): void {
  resumption.detach(() => session.evict());
  if (session.record !== undefined) resumption.startSpill(session.record);
  const count = (): void => {
    if (session.connection === undefined && !session.isEnding) host.resumables?.countDetached(session);
  };
  if (isClientComing) setImmediate(count);
  else count();
}

/** The grace of a session is over, or its room is needed. In a cluster it cannot be resumed from now on. */
export async function endDetached<Member extends ResumingSession>(
  { config, resumables }: SessionHost<Member>,
  session: Member,
): Promise<void> {
  const { record } = session;
  resumables?.rememberUnmarked(session);
  if (config.onDisconnect === 'finish') {
    // Once it is marked, other nodes end its chats after a while, whatever its agents still do. Nobody reads what they say.
    session.resumption?.discard();
    await session.finishSends();
  }
  const isOurs = record === undefined || (await record.expire(config.cleanupTimeout));
  resumables?.forgetUnmarked(session);
  if (isOurs) session.complete();
  else record.giveUp();
}
