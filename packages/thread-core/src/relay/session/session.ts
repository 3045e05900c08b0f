import type { IncomingMessage } from 'node:http';
import { CloseCode, type ResumeFrame } from '@arc/thread-protocol';
import type { Bytes } from '../../bytes.js';
import type { ArcClient } from '../../client/arc-client.js';
import type { ChatOutcome } from '../../threads/ending.js';
import { checkClient } from '../../threads/options.js';
import type { ThreadManager } from '../../threads/thread-manager.js';
import { type AdmittedSession, admit } from '../admission/session-admission.js';
import type { AttachOptions } from '../api.js';
import { readFormer, readThreads } from '../cluster/claimed-session.js';
import type { RecordedSession } from '../cluster/cluster.js';
import type { MovableSession } from '../cluster/movable-session.js';
import type { ClaimedSession } from '../cluster/move-messages.js';
import { parkSession } from '../cluster/parking.js';
import type { SessionRecord } from '../cluster/session-record.js';
import { checkCloseCode } from '../connection/close-reason.js';
import { Connection } from '../connection/connection.js';
import type { RelaySocket } from '../connection/socket.js';
import { describeFailure, logFailure, writeErrorMembers } from '../frames/error-frame.js';
import { type FrameEcho, writeEcho } from '../frames/frame-echo.js';
import type { ReadFrame } from '../frames/frame-reader.js';
import type { CountedSession } from '../monitoring/stats.js';
import { detach, endDetached, waitDetached, waitForClient } from '../resume/detaching.js';
import { answerResume } from '../resume/resuming.js';
import { Resumption } from '../resume/resumption.js';
import { PendingSends, type SendingSession } from '../sends/pending-sends.js';
import { IncomingFrames } from './incoming-frames.js';
import type { ReceivingSession } from './receiving-session.js';
import { closeAfterFailure, type EndingSession, SessionEnd } from './session-end.js';
import type { SessionHost } from './session-host.js';
import { SessionParts } from './session-parts.js';
import { SessionThreads } from './session-threads.js';

/**
 * The identity, threads and pending sends of one client. It has one connection; a resumable session may lose it, and
 * continue with another. Whatever an idle session does not need is made on demand.
 */
export class ClientSession
  extends SessionParts
  implements
    SendingSession,
    ReceivingSession,
    AdmittedSession,
    MovableSession,
    EndingSession,
    RecordedSession,
    CountedSession
{
  readonly #host: SessionHost<ClientSession>;
  readonly #client: ArcClient;

  /** @throws TypeError if `client` is not an ArcClient */
  constructor(host: SessionHost<ClientSession>, client: ArcClient = host.config.client) {
    super();
    checkClient(client);
    this.#host = host;
    this.#client = client;
  }

  /** @throws TypeError if the socket is attached already */
  connect(socket: RelaySocket, request: IncomingMessage): void {
    this.connection = new Connection(this.#host, this, socket, request);
  }

  /** Continues a session that another node had. It waits for its client. */
  restore(claimed: ClaimedSession, identity: unknown): void {
    const { config, resumables } = this.#host;
    const { owned, session, request } = claimed;
    if (config.resume === undefined) return;
    this.sid = owned.sid;
    this.begunAt = 0;
    this.identity = identity;
    this.isAdmitted = true;
    this.#host.telemetry.sessionRestored(this);
    this.resumption = new Resumption(this, config.resume, owned.sid, request.identityKey, readFormer(claimed));
    this.sessionThreads = new SessionThreads(this, this.#client, this.#host, { owned, threads: readThreads(session) });
    this.#incoming.restore(session.exact ? session.waiting : []);
    resumables?.add(this);
    waitForClient(this.#host, this, this.resumption, true);
  }

  /** What the store of a cluster has of this session. */
  get record(): SessionRecord | undefined {
    if (this.#host.cluster === undefined) return undefined;
    void this.threads;
    return this.sessionThreads?.record;
  }

  get closed(): Promise<ChatOutcome[]> {
    return this.#ending.closed;
  }

  get threads(): ThreadManager {
    this.sessionThreads ??= new SessionThreads(this, this.#client, this.#host);
    return this.sessionThreads.manager;
  }

  get sends(): PendingSends {
    if (this.existingSends === undefined) {
      this.existingSends = new PendingSends(this, this.#host.config, this.#host.telemetry);
      if (this.isBlocked) this.existingSends.pause();
    }
    return this.existingSends;
  }

  get #incoming(): IncomingFrames {
    this.frames ??= new IncomingFrames(this, this.#host.config);
    return this.frames;
  }

  get #ending(): SessionEnd {
    this.end ??= new SessionEnd(this, this.#host.config);
    return this.end;
  }

  /** Admits the connection: at once if its identity is known. Frames are held until then. */
  begin(options: AttachOptions): void {
    if (this.connection?.isOpen !== true) return;
    if ('identity' in options) return this.onAdmitted(options.identity);
    this.#incoming.holdUntil(admit(this, (...connection) => this.#host.checkAdmission(...connection), options));
  }

  onAdmitted(identity: unknown): void {
    this.identity = identity;
    if (this.connection?.isOpen !== true) return;
    this.isAdmitted = true;
    this.#host.telemetry.sessionOpened(this);
  }

  onRefused(code: number, reason: string): void {
    this.connection?.releaseSlot();
    this.frames?.take(() => true);
    this.close(code, reason);
  }

  // Frames of the client

  isExempt(frame: ReadFrame): boolean {
    return this.frames?.isExempt(frame) === true;
  }

  onFrame(frame: ReadFrame, text: string, bytes: number): void {
    this.#incoming.receive(frame, text, bytes);
  }

  onExcessFrame(frame: ReadFrame, text: string, bytes: number): void {
    this.#incoming.receiveExcess(frame, text, bytes);
  }

  rejectFrame(error: unknown, echo: FrameEcho, isClientFault = true): void {
    this.writeError(error, writeEcho(echo));
    this.#host.telemetry.frameRejected(this, error, echo);
    if (isClientFault && this.connection?.countBadFrame())
      this.close(CloseCode.TooManyBadFrames, 'Too many bad frames');
  }

  checkOwnership(): Promise<void> | undefined {
    return this.#host.cluster?.check();
  }

  onResume(frame: ResumeFrame): Promise<void> | undefined {
    return answerResume(this.#host, this, frame);
  }

  // Frames to the client

  /** Writes an agent's error as the agent sent it, and of any other error only what a client may know. */
  writeError(error: unknown, echo: Bytes): void {
    const failure = describeFailure(error);
    logFailure(error, failure, this.id, this.#host.config.logger);
    this.writeMembers(writeErrorMembers(failure, echo));
  }

  /** Backpressure: while a client does not read, neither its agents' answers nor its frames are read. */
  onBackpressure(): void {
    if (this.isBlocked) {
      this.connection?.startStallTimer();
      this.#incoming.pause();
      this.existingSends?.pause();
    } else {
      this.connection?.stopStallTimer();
      this.frames?.unpause();
      if (!this.isBlocked) this.existingSends?.unpause();
    }
  }

  onAppended(bytes: number): void {
    if (this.isDetached) this.#host.resumables?.grow(this, bytes);
    if (this.resumption?.journal.isFull && this.existingSends?.isPaused !== true) this.onBackpressure();
  }

  onAck(isNew: boolean): void {
    if (!this.isBlocked) this.onBackpressure();
    // A client can repeat an acknowledgement without reading anything.
    else if (isNew || !this.isConnectionFull) this.connection?.restartStallTimer();
  }

  // The end

  /** Another node owns the session: its chats are not ended here, unless that node can only have ended them, maybe too early. */
  onLost(): void {
    if (this.resumption !== undefined) this.existingThreads?.disown();
    // From here on the other node numbers the frames.
    this.resumption?.stop();
    this.#host.resumables?.removeMoved(this);
    const isComplete = this.isEnding && this.connection === undefined;
    this.close(CloseCode.ServiceRestart, 'The session has moved');
    if (isComplete) this.complete();
  }

  park(): void {
    const { cleanupTimeout } = this.#host.config;
    const now = Promise.resolve();
    const onKept = (): void => waitDetached(this.#host, this);
    void parkSession(this, { turn: now, deadline: now, cleanupTimeout, onKept });
  }

  /** Ends a detached session, because its grace is over or its room is needed. */
  evict(): void {
    if (!this.isDetached || this.resumption?.moving !== undefined) return;
    this.#host.telemetry.sendsInterrupted(this.pending);
    if (this.#host.cluster === undefined) return this.complete();
    this.#ending.begin();
    void endDetached(this.#host, this);
  }

  close(code: number = CloseCode.Normal, reason = ''): void {
    const isFirst = !this.isEnding;
    // Pending sends are answered with `cancelled` before the close frame.
    void this.#ending.endChats();
    if (this.connection === undefined) {
      if (isFirst) this.complete();
      return checkCloseCode(code);
    }
    try {
      this.connection.close(code, reason);
    } catch (error) {
      // The code is not valid. The chats are being ended, so the connection is dropped.
      this.terminate();
      throw error;
    }
  }

  onViolation(code: number, reason: string): void {
    if (code === CloseCode.MessageTooBig) this.resumption?.countOversized();
    this.close(code, reason);
  }

  /** An unexpected failure ends this session, and no other. */
  onFailure(err: unknown): void {
    this.#host.telemetry.sessionFailed(this, err);
    closeAfterFailure(this, err, this.#host.config.logger);
  }

  onDisconnect(code: number): void {
    if (detach(this.#host, this, code)) return;
    // ws has rejected a frame before the relay saw it.
    if (code === CloseCode.MessageTooBig) this.resumption?.countOversized();
    void this.#ending.finish();
    this.resumption?.discard();
  }

  onClosed(code: number, err: unknown): void {
    this.#host.telemetry.connectionClosed(this.id, code, err);
    this.complete();
  }

  finishSends(): Promise<void> | undefined {
    return this.#ending.finishSends();
  }

  complete(): void {
    void this.#ending.complete();
    this.resumption?.discard();
  }

  onEnded(outcomes: ChatOutcome[]): void {
    if (this.isAdmitted) this.#host.telemetry.sessionClosed(this, outcomes);
    this.sessionThreads?.unregister();
    this.#host.onSessionEnd(this);
  }

  onLeave(): void {
    this.resumption?.stopTimers();
    if (this.resumption !== undefined) this.#host.resumables?.removeEnded(this);
  }

  /** Lets pending sends end, and starts no new ones. Answers `end` frames. */
  async drain(): Promise<void> {
    await this.#ending.drainSends();
    await this.whenEndsAnswered();
  }

  /** Cancels what is still pending, and closes the connection. */
  shutDown(): void {
    const code = this.#host.cluster === undefined ? CloseCode.GoingAway : CloseCode.ServiceRestart;
    this.close(code, 'The server is shutting down');
  }
}
