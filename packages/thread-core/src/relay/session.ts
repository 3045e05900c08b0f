import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { CloseCode, type ContinueSessionFrame, type ResumeFrame } from '@arc/thread-protocol';
import { type Bytes, encode } from '../bytes.js';
import type { ArcClient } from '../client/arc-client.js';
import { type Deferred, defer } from '../deferred.js';
import { InvalidRequestError } from '../protocol/errors.js';
import type { ChatOutcome } from '../threads/ending.js';
import { checkClient } from '../threads/options.js';
import type { ThreadManager } from '../threads/thread-manager.js';
import type { AttachOptions, Session } from './api.js';
import type { ClusteredSession } from './cluster.js';
import { Connection, type ConnectionOwner } from './connection.js';
import { describeFailure, writeFailure } from './failure.js';
import type { FrameEcho } from './frame-reader.js';
import type { ReadFrame } from './inbox.js';
import { IncomingFrames, type ReceivingSession } from './incoming-frames.js';
import { PendingSends, type SendingSession } from './pending-sends.js';
import { writeEcho } from './reply.js';
import type { ResumableSession } from './resumable-sessions.js';
import { Resumption, type ResumptionOwner } from './resumption.js';
import { type EndingSession, SessionEnd } from './session-end.js';
import type { SessionHost } from './session-host.js';
import { SessionThreads } from './session-threads.js';
import type { RelaySocket } from './socket.js';
import type { Traffic } from './stats.js';

/** The ways in which a connection ends that its client did not choose: the session waits for another connection. */
const LOST_CODES: readonly number[] = [CloseCode.GoingAway, CloseCode.Abnormal];

const NO_TRAFFIC: Traffic = { received: 0, sent: 0 };

/**
 * The identity, threads and pending sends of one client. It has one connection; a resumable session may lose it, and go on
 * with another. Whatever an idle session does not need is made on demand.
 */
export class ClientSession
  implements
    Session,
    SendingSession,
    ReceivingSession,
    ConnectionOwner,
    ResumptionOwner,
    ResumableSession,
    EndingSession,
    ClusteredSession
{
  identity: unknown;
  isAdmitted = false;
  resumption: Resumption | undefined;
  existingSends: PendingSends | undefined;
  readonly #host: SessionHost<ClientSession>;
  readonly #client: ArcClient;
  #connection: Connection | undefined;
  #id: string | undefined;
  #frames: IncomingFrames | undefined;
  #threads: SessionThreads | undefined;
  #hasSlot = true;
  #end: SessionEnd | undefined;
  #closed: Deferred<ChatOutcome[]> | undefined;

  /** @throws TypeError if the socket is attached already, or if `client` is not an ArcClient */
  constructor(host: SessionHost<ClientSession>, socket: RelaySocket, request: IncomingMessage, options: AttachOptions) {
    const { client = host.config.client } = options;
    checkClient(client);
    this.#host = host;
    this.#client = client;
    this.#connection = new Connection(host, this, socket, request);
  }

  get id(): string {
    this.#id ??= randomUUID();
    return this.#id;
  }

  get request(): IncomingMessage | undefined {
    return this.#connection?.request;
  }

  get closed(): Promise<ChatOutcome[]> {
    this.#closed ??= defer();
    return this.#closed.promise;
  }

  get threads(): ThreadManager {
    this.#threads ??= new SessionThreads(this, this.#client, this.#host);
    return this.#threads.manager;
  }

  get sends(): PendingSends {
    if (this.existingSends === undefined) {
      this.existingSends = new PendingSends(this, this.#host.config, this.#host.telemetry);
      if (this.isBlocked) this.existingSends.pause();
    }
    return this.existingSends;
  }

  get #incoming(): IncomingFrames {
    this.#frames ??= new IncomingFrames(this, this.#host.config);
    return this.#frames;
  }

  get #ending(): SessionEnd {
    this.#end ??= new SessionEnd(this, this.#host.config);
    return this.#end;
  }

  /** Nothing new is started. */
  get #isEnding(): boolean {
    return this.#end?.hasStarted === true;
  }

  /** Ends the chats; undefined if there never was one. */
  get existingThreads(): ThreadManager | undefined {
    return this.#threads?.manager;
  }

  takeHeldMessages(): FrameEcho[] {
    return this.#frames?.take(({ isMessage }) => isMessage).map(({ echo }) => echo) ?? [];
  }

  get pending(): number {
    return this.existingSends?.size ?? 0;
  }

  /** Pending sends that wait for another send of their thread. */
  get waiting(): number {
    return this.existingSends?.waiting ?? 0;
  }

  get threadCount(): number {
    return this.#threads?.manager.threadCount ?? 0;
  }

  get traffic(): Traffic {
    return this.#connection?.traffic ?? NO_TRAFFIC;
  }

  get heldBytes(): number {
    return this.#frames?.heldBytes ?? 0;
  }

  get journalBytes(): number {
    return this.resumption?.journal.bytes ?? 0;
  }

  /** It waits for another connection. */
  get isDetached(): boolean {
    return this.#connection === undefined && !this.#isEnding;
  }

  get isReceiving(): boolean {
    return this.resumption === undefined ? this.#connection?.isOpen === true : !this.#isEnding;
  }

  get isBlocked(): boolean {
    return this.#connection?.isFull === true || this.resumption?.journal.isFull === true;
  }

  get isIdle(): boolean {
    const isEnding = this.#threads !== undefined && this.#threads.manager.endingCount > 0;
    return this.pending === 0 && !isEnding && this.#frames?.isAwaiting !== true;
  }

  /** Admits the connection: at once if its identity is known. */
  begin(options: AttachOptions): void {
    if (this.#connection?.isOpen !== true) return;
    if ('identity' in options) this.#open(options.identity);
    else this.#incoming.await(this.#admit(this.#connection.request, options));
  }

  /** Frames are held until this is fulfilled. */
  async #admit(request: IncomingMessage, { context, host }: AttachOptions): Promise<void> {
    try {
      const admission = await this.#host.checkAdmission(request, context, host);
      if ('identity' in admission) return this.#open(admission.identity);
      this.#frames?.take(() => true);
      this.close(admission.refused.closeCode, admission.refused.message);
    } catch (error) {
      this.onFailure(error);
    }
  }

  #open(identity: unknown): void {
    this.identity = identity;
    if (this.#connection?.isOpen !== true) return;
    this.isAdmitted = true;
    this.#host.telemetry.sessionOpened(this);
  }

  // Frames of the client

  isExempt(frame: ReadFrame): boolean {
    return this.#frames?.isExempt(frame) === true;
  }

  onFrame(frame: ReadFrame, text: string, bytes: number): void {
    this.#incoming.receive(frame, text, bytes);
  }

  onExcessFrame(frame: ReadFrame, bytes: number): void {
    this.#incoming.receiveExcess(frame, bytes);
  }

  refuse(error: unknown, echo: FrameEcho): void {
    this.writeError(error, writeEcho(echo));
    if (this.#connection?.countBadFrame()) this.close(CloseCode.TooManyBadFrames, 'Too many bad frames');
  }

  checkOwnership(): Promise<void> | undefined {
    return this.#host.cluster?.check();
  }

  acceptFrame(): void {
    this.#connection?.resetBadFrames();
  }

  // Frames to the client

  write(frame: Bytes): void {
    (this.resumption ?? this.#connection)?.write(frame);
  }

  writeSoon(frame: Bytes): void {
    (this.resumption ?? this.#connection)?.writeSoon(frame);
  }

  writePart(frame: Bytes): void {
    (this.resumption ?? this.#connection)?.writePart(frame);
  }

  writeControl(frame: Bytes): void {
    if (this.resumption === undefined) this.#connection?.writeSoon(frame);
    else this.#connection?.writeControl(frame);
  }

  /** Tells the client of an agent's error what the agent said, and of any other only what a client may know. */
  writeError(error: unknown, echo: Bytes): void {
    const { data, isInternal } = describeFailure(error);
    const { logger } = this.#host.config;
    if (isInternal) logger.error(this.#about(error), 'a send failed');
    else logger.debug(this.#about(error), 'a frame or send failed');
    this.writeSoon(`{"type":"error"${echo},"data":${encode(writeFailure(data))}}` as Bytes);
  }

  #about(err: unknown): { session: string; err: unknown } {
    return { session: this.id, err };
  }

  /** Backpressure: while a client does not read, neither its agents' answers nor its frames are read. */
  onBackpressure(): void {
    if (this.isBlocked) {
      this.#connection?.startStallTimer();
      this.#incoming.pause();
      this.existingSends?.pause();
    } else {
      this.#connection?.stopStallTimer();
      this.#frames?.resume();
      if (!this.isBlocked) this.existingSends?.resume();
    }
  }

  /** Another node owns the session: it is not ended here, but goes on there. */
  onLost(): void {
    this.#threads?.manager.clear();
    this.close(CloseCode.ServiceRestart, 'The session has moved');
  }

  // Resuming

  onResume(frame: ResumeFrame): void {
    const { config, resumables } = this.#host;
    const connection = this.#connection;
    if (config.resume === undefined || resumables === undefined || connection === undefined) return;
    if (!this.#incoming.isEmpty) return this.close(CloseCode.PolicyViolation, 'Frames were sent before ready');
    const key = this.#host.identityKey(this.identity);
    if (key === undefined) return this.refuse(new InvalidRequestError('type: this identity cannot resume'), {});
    const found = frame.session === undefined ? undefined : resumables.find(frame.session, key);
    const isFound = found !== undefined && typeof found !== 'string';
    if (isFound && frame.session !== undefined && found.resumption?.canResume(frame.seq, frame.sent)) {
      return found.#takeOver(this, connection, frame);
    }
    this.resumption = new Resumption(this, config.resume, this.id, key);
    resumables.add(this);
    this.resumption.begin(connection, isFound ? 'gap' : found);
  }

  /** Goes on with the connection of another session, which ends. The connection that there was is closed. */
  #takeOver(other: ClientSession, connection: Connection, { session, seq }: ContinueSessionFrame): void {
    const previous = this.#connection;
    if (previous === undefined) {
      this.#host.resumables?.attach(this);
      this.#hasSlot = true;
      this.#host.occupySlot();
    } else {
      this.#host.onConnectionLost(previous);
      previous.replace(CloseCode.SessionTakenOver, 'Taken over by a newer connection');
    }
    other.#connection = undefined;
    other.#complete();
    this.#connection = connection;
    connection.owner = this;
    this.identity = other.identity;
    this.resumption?.resume(connection, session, seq, [...this.sends.ids(), ...this.#incoming.messageIds]);
    this.onBackpressure();
    this.#host.telemetry.sessionResumed(this);
  }

  onAppended(bytes: number): void {
    if (this.isDetached) this.#host.resumables?.grow(this, bytes);
    if (this.resumption?.journal.isFull && this.existingSends?.isPaused !== true) this.onBackpressure();
  }

  onAck(): void {
    if (this.isBlocked) this.#connection?.restartStallTimer();
    else this.onBackpressure();
  }

  /** The connection is lost: the session waits for another one, if there is anything to wait for. */
  #detach(resumption: Resumption, connection: Connection): void {
    this.#host.onConnectionLost(connection);
    connection.release();
    this.#connection = undefined;
    this.#releaseSlot();
    resumption.detach(() => this.evict());
    const isIdle = this.pending === 0 && this.#frames?.isEmpty !== false && this.#frames?.isAwaiting !== true;
    if (isIdle && this.threadCount === 0 && resumption.journal.isEmpty) return this.#complete();
    this.#host.config.logger.info({ session: this.id }, 'a connection was lost; its session waits for the client');
    this.onBackpressure();
    this.#host.telemetry.sessionDetached(this);
    if (!this.#isEnding) this.#host.resumables?.detach(this);
  }

  /** Ends a detached session, because its grace is over or its room is needed. */
  evict(): void {
    if (!this.isDetached) return;
    this.#host.telemetry.sendsInterrupted(this.pending);
    this.#complete();
  }

  // The end

  close(code: number = CloseCode.Normal, reason = ''): void {
    const isFirst = !this.#isEnding;
    // Pending sends are answered with `cancelled` before the close frame.
    void this.#ending.endChats();
    if (this.#connection === undefined) {
      if (isFirst) this.#complete();
      return;
    }
    try {
      this.#connection.close(code, reason);
    } catch (error) {
      // Not a valid code. Without its chats the connection is of no use.
      this.terminate();
      throw error;
    }
  }

  /** Drops the connection without a close frame. */
  terminate(): void {
    this.#connection?.terminate();
  }

  /** Called regularly by the relay. */
  sweep(pings: boolean, idleSweeps: number): void {
    try {
      this.#connection?.sweep(pings, idleSweeps);
    } catch (error) {
      this.onFailure(error);
    }
  }

  onViolation(code: number, reason: string): void {
    this.close(code, reason);
  }

  /** Something failed that should not: it costs this session, and no other. */
  onFailure(error: unknown): void {
    this.#host.config.logger.error(this.#about(error), 'a session failed');
    try {
      this.close(CloseCode.InternalError, 'The relay failed');
    } catch {
      this.terminate();
    }
  }

  onDisconnect(code: number): void {
    if (
      this.resumption !== undefined &&
      this.#connection !== undefined &&
      !this.#isEnding &&
      LOST_CODES.includes(code)
    ) {
      this.#detach(this.resumption, this.#connection);
    } else {
      void this.#ending.finish();
      this.resumption?.discard();
    }
  }

  onClosed(code: number, error: unknown): void {
    const { logger } = this.#host.config;
    const about = { ...this.#about(error), code };
    if (error !== undefined) logger.warn(about, 'a connection failed');
    else if (code === CloseCode.Abnormal) logger.info(about, 'a connection was lost');
    else logger.debug(about, 'a connection was closed');
    this.#complete();
  }

  /** Nothing is left but to end the chats. Called once, when there is no connection any more. */
  #complete(): void {
    const finished = this.#ending.finish();
    this.resumption?.discard();
    void finished.then((outcomes) => {
      if (this.isAdmitted) this.#host.telemetry.sessionClosed(this, outcomes);
      this.#threads?.unregister();
      this.#closed ??= defer();
      this.#closed.resolve(outcomes);
      this.#host.onSessionEnd(this);
    });
  }

  onLeave(): void {
    this.#releaseSlot();
    this.resumption?.stop();
    if (this.resumption !== undefined) this.#host.resumables?.remove(this);
  }

  #releaseSlot(): void {
    if (this.#hasSlot) this.#host.releaseSlot();
    this.#hasSlot = false;
  }

  /** Lets pending sends end, and starts no new ones. */
  async drain(): Promise<void> {
    await Promise.all([this.#ending.startNothing(), this.#frames?.whenEnded()]);
  }

  /** Cancels what is still pending, and closes the connection. */
  shutDown(): void {
    const code = this.#host.cluster === undefined ? CloseCode.GoingAway : CloseCode.ServiceRestart;
    this.close(code, 'The server is shutting down');
  }
}
