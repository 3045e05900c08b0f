import { CloseCode, type ContinueSessionFrame, type NotResumedReason, type ResumeFrame } from '@arc/thread-protocol';
import { InvalidRequestError } from '../../protocol/errors.js';
import type { Session } from '../api.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Gateway } from '../cluster/gateway.js';
import type { GatewayOffer, ResumeRequest } from '../cluster/move-messages.js';
import type { SessionConnection } from '../connection/session-connection.js';
import { readFrame } from '../frames/frame-reader.js';
import type { SessionHost } from '../session/session-host.js';
import { writeResumed } from './ready-frame.js';
import type { ResumingSession } from './resuming-session.js';
import { isCursor, Resumption } from './resumption.js';
import { hashSecret, readToken } from './session-secret.js';

const TAKEN_OVER = 'Taken over by a newer connection';
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
  return continueSession(host, session, { key, frame, askedAt: performance.now() });
}

/** A connection asks for a session. */
interface Attempt {
  /** The key of its identity. */
  readonly key: string;
  readonly frame: ContinueSessionFrame;
  /** By the monotonic clock. Of two connections that ask for one session the later one has it. */
  readonly askedAt: number;
}

/** Continues a session of this node, or looks for it on the others. */
function continueSession<Member extends ResumingSession>(
  host: SessionHost<Member>,
  session: Member,
  attempt: Attempt,
): Promise<void> | undefined {
  const { resumables, cluster } = host;
  const { key, frame } = attempt;
  const found = resumables?.find(frame.session, key);
  const moving = typeof found === 'object' ? found.resumption?.moving : undefined;
  // With a wrong secret it is unknown, but not elsewhere.
  const isUnknown = found === 'unknown' && resumables?.has(readToken(frame.session)?.sid ?? '') !== true;
  const mayBeElsewhere = typeof found === 'object' && cluster?.isLeaseGood === false;
  if (cluster !== undefined && (isUnknown || moving !== undefined || mayBeElsewhere))
    return resumeFromCluster(host, cluster, session, attempt, moving);
  return resumeHere(host, session, attempt);
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
  { key, frame, askedAt }: Attempt,
): Promise<void> | undefined {
  const { connection } = session;
  const found = host.resumables?.find(frame.session, key);
  if (found === undefined || typeof found === 'string') {
    // In a cluster another node may have taken the session over meanwhile, and may know of more frames.
    const isKnown = found === 'expired' && host.cluster === undefined;
    const received = isKnown ? host.resumables?.received(frame.session) : undefined;
    return begin(host, session, key, found, received);
  }
  const { resumption } = found;
  if (!resumption?.canResume(frame.seq, frame.sent)) return begin(host, session, key, 'gap');
  resumption.askedAt = askedAt;
  if (connection !== undefined) takeOver(host, found, session, connection, frame);
  return undefined;
}

/** Looks for the session on the other nodes. Never rejects. */
async function resumeFromCluster<Member extends ResumingSession>(
  host: SessionHost<Member>,
  cluster: Cluster,
  session: Member,
  attempt: Attempt,
  moving: Promise<unknown> | undefined,
): Promise<void> {
  const { key, frame, askedAt } = attempt;
  const isWanted = (): boolean => session.connection?.isOpen === true && !session.isEnding;
  try {
    const { sid, secret } = readToken(frame.session) ?? { sid: '', secret: '' };
    const { seq, sent } = frame;
    // A session whose owner is dead would continue from there.
    if (!isCursor(seq) || !isCursor(sent)) return await begin(host, session, key, 'gap');
    const request = { sid, secretHash: hashSecret(secret), identityKey: key, seq, sent };
    await moving;
    const result = await cluster.moves.resume(request, isWanted, askedAt);
    if (!isWanted()) return;
    if (session.hasUnansweredFrames) closeHasty(session);
    else if (typeof result === 'object') openGateway(host, cluster, session, request, attempt, result);
    else if (result === 'replaced') session.close(CloseCode.SessionTakenOver, TAKEN_OVER);
    else if (isLeaving(host)) closeLeaving(session);
    // It may have begun to move meanwhile.
    else if (result === 'local') await continueSession(host, session, attempt);
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
  { frame, askedAt }: Attempt,
  offer: GatewayOffer & { readonly owner: string },
): void {
  const { connection, identity } = session;
  const { resume } = host.config;
  if (connection === undefined || resume === undefined) return;
  const onMoved = async (gateway: Gateway): Promise<void> => {
    await gateway.deliverStored();
    const { written: seq } = gateway;
    const result = await cluster.moves.resume({ ...request, seq }, () => connection.isOpen, askedAt);
    // The client has left meanwhile. The session waits for it.
    if (gateway.hasLeft) return;
    const moved = host.resumables?.get(request.sid);
    // A newer connection to this node has asked for it meanwhile.
    if (moved?.connection !== undefined && askedAt < (moved.resumption?.askedAt ?? 0)) {
      return gateway.close(CloseCode.SessionTakenOver, TAKEN_OVER);
    }
    if (result !== 'local' || moved?.resumption === undefined || moved.isEnding || moved.connection !== undefined) {
      return gateway.close(CloseCode.ServiceRestart, 'Try again');
    }
    gateway.leave(true);
    moved.resumption.askedAt = askedAt;
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
  connection.write(writeResumed(resume, frame.session, offer));
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
  else disconnect(host, session, previous, CloseCode.SessionTakenOver, TAKEN_OVER);
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
