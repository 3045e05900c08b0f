import { CloseCode, type ContinueSessionFrame, type NotResumedReason, type ResumeFrame } from '@arc/thread-protocol';
import { InvalidRequestError } from '../../protocol/errors.js';
import type { Session } from '../api.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Gateway } from '../cluster/gateway.js';
import type { GatewayOffer, ResumeRequest } from '../cluster/session-moves.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { readFrame } from '../frames/frame-reader.js';
import type { SessionHost } from '../session/session-host.js';
import { writeResumed } from './ready-frame.js';
import type { ResumingSession } from './resuming-session.js';
import { Resumption } from './resumption.js';
import { hashSecret, readToken } from './session-secret.js';

/** Close codes of connections that the client lost, and did not choose to end: the session waits for another one. */
const LOST_CODES: readonly number[] = [CloseCode.GoingAway, CloseCode.Abnormal];

const SHUTTING_DOWN = 'The server is shutting down';

/** The first frame of a connection asks for a resumable session, or for one that the client had before. */
export function answerResume<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  frame: ResumeFrame,
): Promise<void> | undefined {
  const { config, resumables } = host;
  if (config.resume === undefined || resumables === undefined || session.connection === undefined) return undefined;
  if (isLeaving(host)) return closeLeaving(session);
  if (!session.areFramesHandled) return closeHasty(session);
  const key = host.identityKey(session.identity);
  if (key === undefined) {
    session.rejectFrame(new InvalidRequestError('type: this identity cannot resume'), {});
    return undefined;
  }
  if (frame.session === undefined) return begin(host, session, key, undefined);
  return continueSession(host, session, key, frame);
}

/** Continues a session of this node, or looks for it on the others. */
function continueSession<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  key: string,
  frame: ContinueSessionFrame,
): Promise<void> | undefined {
  const { resumables, cluster } = host;
  const found = resumables?.find(frame.session, key);
  const moving = typeof found === 'object' ? found.resumption?.moving : undefined;
  const isElsewhere = found === 'unknown' || moving !== undefined;
  const mayBeElsewhere = typeof found === 'object' && cluster?.isLeaseGood === false;
  if (cluster === undefined || !(isElsewhere || mayBeElsewhere)) return resumeHere(host, session, key, frame);
  return resumeFromCluster(host, cluster, session, key, frame, moving);
}

/** The client must not send anything before `ready`: it cannot know yet in which session that would be handled. */
function closeHasty(session: Session): undefined {
  session.close(CloseCode.PolicyViolation, 'Frames were sent before ready');
}

/** What a client sends to a node that shuts down may be cancelled as soon as the others have left: it gets no `ready` here. */
function closeLeaving(session: Session): undefined {
  session.close(CloseCode.ServiceRestart, SHUTTING_DOWN);
}

/** The sessions of this node are left to others. */
function isLeaving<Member extends ResumingSession>({ isClosing, cluster }: SessionHost<Member>): boolean {
  return isClosing && cluster !== undefined;
}

/** Continues a session of this node, or begins a new one that says why that is not possible. */
function resumeHere<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  key: string,
  frame: ContinueSessionFrame,
): Promise<void> | undefined {
  const { connection } = session;
  const found = host.resumables?.find(frame.session, key);
  if (found === undefined || typeof found === 'string') {
    // In a cluster another node may have taken the session over meanwhile, and may know of more frames.
    const isKnown = found === 'expired' && host.cluster === undefined;
    const received = isKnown ? host.resumables?.received(frame.session) : undefined;
    return begin(host, session, key, found, received);
  }
  if (!found.resumption?.canResume(frame.seq, frame.sent)) return begin(host, session, key, 'gap');
  if (connection !== undefined) takeOver(host, found, session, connection, frame);
  return undefined;
}

/** Looks for the session on the other nodes. Never rejects. */
async function resumeFromCluster<Member extends ResumingSession>(
  host: SessionHost<Member>,
  cluster: Cluster,
  session: Member,
  key: string,
  frame: ContinueSessionFrame,
  moving: Promise<unknown> | undefined,
): Promise<void> {
  const isWanted = (): boolean => session.connection?.isOpen === true && !session.isEnding;
  try {
    const { sid, secret } = readToken(frame.session) ?? { sid: '', secret: '' };
    const { seq, sent } = frame;
    const request = { sid, secretHash: hashSecret(secret), identityKey: key, seq, sent };
    await moving;
    const result = await cluster.moves.resume(request, isWanted);
    if (!isWanted()) return;
    if (session.hasUnansweredFrames) closeHasty(session);
    else if (typeof result === 'object') openGateway(host, cluster, session, request, frame.session, result);
    else if (result === 'replaced') session.close(CloseCode.SessionTakenOver, 'Taken over by a newer connection');
    else if (isLeaving(host)) closeLeaving(session);
    // It may have begun to move meanwhile.
    else if (result === 'local') await continueSession(host, session, key, frame);
    else if (result === 'unavailable') session.close(CloseCode.TryAgainLater, 'Try again later');
    else if (result !== 'unwanted') await begin(host, session, key, result);
  } catch (error) {
    session.onFailure(error);
  }
}

/** Serves a client whose session stays on another node for now. */
function openGateway<Member extends ResumingSession>(
  host: SessionHost<Member>,
  cluster: Cluster,
  session: Member,
  request: ResumeRequest,
  token: string,
  offer: GatewayOffer & { readonly owner: string },
): void {
  const { connection, identity } = session;
  const { resume } = host.config;
  if (connection === undefined || resume === undefined) return;
  const onMoved = async (gateway: Gateway): Promise<void> => {
    await gateway.deliverStored();
    const { written: seq } = gateway;
    const result = await cluster.moves.resume({ ...request, seq }, () => connection.isOpen);
    // The client has left meanwhile. The session waits for it.
    if (gateway.hasLeft) return;
    const moved = host.resumables?.get(request.sid);
    if (result !== 'local' || moved?.resumption === undefined || moved.isEnding || moved.connection !== undefined) {
      return gateway.close(CloseCode.ServiceRestart, 'Try again');
    }
    gateway.leave(true);
    host.resumables?.uncountDetached(moved);
    // A slow client may have read on meanwhile, so that the gateway has written more of what the store has than `seq`.
    connect(host, moved, connection, identity, ({ resumption }) => resumption?.continueOn(connection, gateway.written));
    const kept = gateway.keptAfter(moved.resumption.got).map(({ text }) => text);
    for (const text of gateway.lastAck === undefined ? kept : [gateway.lastAck, ...kept]) {
      moved.onFrame(readFrame(text, host.config.maxFrameDepth, true), text, Buffer.byteLength(text));
    }
  };
  const { sid, seq, identityKey } = request;
  const gateway = cluster.openGateway(connection, { ...offer, sid, seq, identityKey, onMoved });
  session.connection = undefined;
  session.complete();
  // The answer of the owner has come late.
  if (isLeaving(host)) return gateway.lose(CloseCode.ServiceRestart, SHUTTING_DOWN);
  connection.write(writeResumed(resume, token, offer));
  void gateway.deliverStored();
}

/**
 * Makes a session resumable. `reason`: why it replaces the one that the client asked for. `received`: how many frames of
 * the client had arrived in that one, if it is known. In a cluster the store knows the session before its client does: so
 * every node finds it, even if its first message is lost with the connection.
 */
function begin<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  key: string,
  reason: NotResumedReason | undefined,
  received?: number,
): Promise<void> | undefined {
  const { config, resumables } = host;
  if (config.resume === undefined || resumables === undefined || session.connection === undefined) return undefined;
  const resumption = new Resumption(session, config.resume, session.id, key);
  session.resumption = resumption;
  resumables.add(session);
  const { record } = session;
  if (record === undefined) {
    resumption.begin(session.connection, reason, received);
    return undefined;
  }
  return record.register().then(() => {
    if (session.connection === undefined || session.isEnding) return;
    if (session.hasUnansweredFrames) closeHasty(session);
    else if (isLeaving(host)) closeLeaving(session);
    else resumption.begin(session.connection, reason, received);
  });
}

/** A session continues with the connection of another one, which ends. The connection that it had is closed. */
function takeOver<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  other: Member,
  connection: SessionConnection,
  { session: token, seq, sent }: ContinueSessionFrame,
): void {
  const previous = session.connection;
  if (previous === undefined) host.resumables?.uncountDetached(session);
  else disconnect(host, session, previous, CloseCode.SessionTakenOver, 'Taken over by a newer connection');
  other.connection = undefined;
  other.complete();
  connect(host, session, connection, other.identity, ({ resumption }) => {
    resumption?.resume(connection, token, { seq, sent }, session.pendingIds());
  });
}

/** A session gets a connection that another session or a gateway had. `replay` writes what its client has not seen. */
function connect<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  connection: SessionConnection,
  identity: unknown,
  replay: (session: Member) => void,
): void {
  session.connection = connection;
  connection.owner = session;
  session.identity = identity;
  replay(session);
  session.onBackpressure();
  host.telemetry.sessionResumed(session);
}

/** Closes the connection of a session that continues without it. */
export function disconnect<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  connection: SessionConnection,
  code: number,
  reason: string,
): void {
  host.onConnectionLost(connection);
  connection.replace(code, reason);
  session.connection = undefined;
}

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
  { config }: SessionHost<Member>,
  session: Member,
): Promise<void> {
  const { record } = session;
  if (record === undefined || (await record.expire(config.cleanupTimeout))) session.complete();
  else record.giveUp();
}
