import { CloseCode, type ContinueSessionFrame, type FrameId, type ResumeFrame } from '@arc/thread-protocol';
import { InvalidRequestError } from '../protocol/errors.js';
import type { Session } from './api.js';
import type { Connection } from './connection.js';
import type { ConnectionOwner } from './connection-owner.js';
import type { FrameEcho } from './frame-reader.js';
import type { ResumableSession } from './resumable-sessions.js';
import { Resumption, type ResumptionOwner } from './resumption.js';
import type { SessionHost } from './session-host.js';

/** The ways in which a connection ends that its client did not choose: the session waits for another connection. */
const LOST_CODES: readonly number[] = [CloseCode.GoingAway, CloseCode.Abnormal];

/** What resuming needs of a session. */
export interface ResumingSession extends Session, ConnectionOwner, ResumptionOwner, ResumableSession {
  identity: unknown;
  connection: Connection | undefined;
  resumption: Resumption | undefined;
  /** Nothing new is started. */
  readonly isEnding: boolean;
  /** It has threads, pending sends, frames that wait or were not acknowledged: something to come back to. */
  readonly isWorthKeeping: boolean;
  /** No frame was held, and nothing is awaited. */
  readonly hasNoFrames: boolean;
  /** Ids of the messages that are pending or held. */
  messageIds(): FrameId[];
  refuse(error: unknown, echo: FrameEcho): void;
  /** Nothing is left but to end the chats. */
  complete(): void;
}

/** Whether a connection that ended with this code may be followed by another one. */
export function isLost(code: number): boolean {
  return LOST_CODES.includes(code);
}

/** The first frame of a connection asks for a resumable session, or for one that it had before. */
export function answerResume<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  frame: ResumeFrame,
): void {
  const { config, resumables } = host;
  const { connection } = session;
  if (config.resume === undefined || resumables === undefined || connection === undefined) return;
  if (!session.hasNoFrames) return session.close(CloseCode.PolicyViolation, 'Frames were sent before ready');
  const key = host.identityKey(session.identity);
  if (key === undefined) return session.refuse(new InvalidRequestError('type: this identity cannot resume'), {});
  const found = frame.session === undefined ? undefined : resumables.find(frame.session, key);
  const isFound = found !== undefined && typeof found !== 'string';
  if (isFound && frame.session !== undefined && found.resumption?.canResume(frame.seq, frame.sent)) {
    return takeOver(host, found, session, connection, frame);
  }
  session.resumption = new Resumption(session, config.resume, session.id, key);
  resumables.add(session);
  session.resumption.begin(connection, isFound ? 'gap' : found);
}

/** A session continues with the connection of another one, which ends. The connection that it had is closed. */
function takeOver<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  other: Member,
  connection: Connection,
  { session: token, seq }: ContinueSessionFrame,
): void {
  const previous = session.connection;
  if (previous === undefined) {
    host.resumables?.attach(session);
  } else {
    host.onConnectionLost(previous);
    previous.replace(CloseCode.SessionTakenOver, 'Taken over by a newer connection');
  }
  other.connection = undefined;
  other.complete();
  session.connection = connection;
  connection.owner = session;
  session.identity = other.identity;
  session.resumption?.resume(connection, token, seq, session.messageIds());
  session.onBackpressure();
  host.telemetry.sessionResumed(session);
}

/** A connection is lost: its session waits for another one, if there is anything to wait for. */
export function detach<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  connection: Connection,
): void {
  host.onConnectionLost(connection);
  connection.release();
  session.connection = undefined;
  resumption.detach(() => session.evict());
  if (!session.isWorthKeeping) return session.complete();
  host.config.logger.info({ session: session.id }, 'a connection was lost; its session waits for the client');
  session.onBackpressure();
  host.telemetry.sessionDetached(session);
  if (!session.isEnding) host.resumables?.detach(session);
}
