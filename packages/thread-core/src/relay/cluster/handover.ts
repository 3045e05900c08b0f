import { randomUUID } from 'node:crypto';
import { CloseCode } from '@arc/thread-protocol';
import { waitForClient } from '../resume/detaching.js';
import { disconnect } from '../resume/resuming.js';
import type { Resumption } from '../resume/resumption.js';
import type { SessionHost } from '../session/session-host.js';
import type { SessionState } from '../store/session-store.js';
import { type MovableSession, stateOf } from './movable-session.js';
import type { MoveAnswer, ResumeRequest } from './move-messages.js';
import { parkSession } from './parking.js';
import { RemoteConnection } from './remote-connection.js';
import type { SessionRecord } from './session-record.js';

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
  if (session === undefined) {
    // Its chats are being ended, or what its agents do is waited for.
    if (host.resumables?.hasEnded(request.sid)) return 'expired';
    host.cluster?.moves.takeBack(request);
    return 'retry';
  }
  const { resumption, record } = session;
  const links = host.cluster?.links;
  if (session.isEnding || resumption === undefined || record === undefined || links === undefined) return 'expired';
  if (resumption.moving !== undefined) {
    await resumption.moving;
    return 'retry';
  }
  if (!resumption.canResume(request.seq, request.sent)) return 'gap';
  // Or earlier: the question was under way for a while.
  const askedAt = performance.now() - (request.waited ?? 0);
  // The client has given that attempt up, and made another one, which has the session.
  if (session.connection !== undefined && askedAt < resumption.askedAt) return 'replaced';
  if (resumption.mayBeLate(to, request)) return 'retry';
  if (session.connection !== undefined) {
    disconnect(host, session, session.connection, CloseCode.SessionTakenOver, 'Taken over by a newer connection');
  }
  resumption.stop();
  host.resumables?.uncountDetached(session);
  if (!resumption.hasConnected && !session.isAtRest) {
    // What its client sends is authorized with the client's identity, and the client has never come to this node.
    const now = Promise.resolve();
    const { cleanupTimeout } = host.config;
    const onKept = (waiting: string[]): void => {
      session.holdTexts(waiting);
      waitForClient(host, session, resumption);
    };
    await parkSession(session, { turn: now, deadline: now, cleanupTimeout, onKept });
    return 'retry';
  }
  resumption.settle(request.seq, request.sent);
  if (session.isAtRest) {
    const answer = await handOver(host, session, resumption, record, to);
    if (answer !== 'retry') return answer;
    // A newer connection may have come meanwhile.
    if (!session.isEnding && session.connection === undefined) waitForClient(host, session, resumption);
    return 'retry';
  }
  const spill = resumption.startSpill(record);
  const link = randomUUID();
  const remote = new RemoteConnection(host.config, session, { links, link, peer: to }, resumption, spill);
  session.connection = remote;
  // No node waits for longer than a lease for its answer.
  resumption.askedAt = Math.max(resumption.askedAt, askedAt - (host.config.cluster?.lease ?? 0));
  resumption.resumeRemotely(remote);
  const offer = { link, seq: resumption.journal.lastSeq, got: resumption.got, pending: session.pendingIds() };
  session.onBackpressure();
  host.telemetry.sessionResumed(session);
  const isWritten = await spill.write();
  // A hook may have ended it, and what its connection was told then came before the link. If it was lost, another node has it.
  if (session.isEnding) return record.isReleased ? 'retry' : 'expired';
  if (!isWritten) {
    if (session.connection === remote) release(host, session, resumption, remote);
    return 'retry';
  }
  void moveAtRest(host, session, resumption, record, remote, to, request);
  // Without a connection the link was lost meanwhile, and no newer connection has the session.
  return session.connection === remote ? offer : session.connection === undefined ? 'retry' : 'replaced';
}

/**
 * Hands a session in which nothing runs over. Resolves to whether that node has it now. Without an answer it may have it all the
 * same: this rejects when a renewal has confirmed who owns it, or when only a renewal lets this node act again.
 */
function attemptHandover(resumption: Resumption, record: SessionRecord, to: string): Promise<boolean> {
  const state = (): SessionState => stateOf(resumption, record, [], []);
  const attempt = record.handover(to, state).catch(async (error: unknown) => {
    await record.findOwner();
    throw error;
  });
  resumption.moving = attempt.catch(() => undefined);
  return attempt;
}

/**
 * Hands the session over. `moved`: that node has it now. `expired`: so it has, but the application has ended it meanwhile. That node
 * finds it in the store a lease later, and ends it. Never rejects.
 */
async function handOver<Member extends MovableSession>(
  { resumables }: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  record: SessionRecord,
  to: string,
): Promise<'moved' | 'expired' | 'retry'> {
  try {
    if (!(await attemptHandover(resumption, record, to))) return 'retry';
    // One that this node has left to others, because it closes, has not ended.
    const answer = resumables?.hasEnded(session.id) ? 'expired' : 'moved';
    session.onLost();
    return answer;
  } catch (error) {
    record.failed(error);
    return 'retry';
  } finally {
    resumption.moving = undefined;
  }
}

/** The session moves to the node that has its client as soon as nothing runs. */
async function moveAtRest<Member extends MovableSession>(
  host: SessionHost<Member>,
  session: Member,
  resumption: Resumption,
  record: SessionRecord,
  remote: RemoteConnection,
  to: string,
  request: ResumeRequest,
): Promise<void> {
  const isLinked = (): boolean => session.connection === remote && !session.isEnding && !resumption.isLeaving;
  do await session.whenAtRest();
  while (isLinked() && !session.isAtRest);
  if (!isLinked()) return;
  // Frames that arrive from now on are left to the next owner.
  resumption.isLeaving = true;
  try {
    if (await attemptHandover(resumption, record, to)) {
      session.connection = undefined;
      remote.hasMoved(request);
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
