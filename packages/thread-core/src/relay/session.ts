import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type ClientFrame, CloseCode, type EndFrame } from '@arc/thread-protocol';
import type { WebSocket } from 'ws';
import { type Bytes, encode } from '../bytes.js';
import type { ArcClient } from '../client/arc-client.js';
import { RateLimitExceededError } from '../protocol/errors.js';
import type { ChatOutcome } from '../threads/ending.js';
import { checkClient, type ThreadHooks } from '../threads/options.js';
import type { ThreadEntry } from '../threads/store.js';
import { ThreadManager } from '../threads/thread-manager.js';
import type { AttachOptions, Session } from './api.js';
import type { Cluster, ClusteredSession } from './cluster.js';
import type { ClusterSession } from './cluster-session.js';
import { Connection, type ConnectionHost, type ConnectionOwner } from './connection.js';
import { describeFailure, writeFailure } from './failure.js';
import { BadFrame, echoOf, type FrameEcho, isMessage, readFrame } from './frame-reader.js';
import { type HeldFrame, Inbox, type InboxOwner, type ReadFrame } from './inbox.js';
import { PendingSends, type SendingSession } from './pending-sends.js';
import type { Admission } from './refusal.js';
import { writeEcho } from './reply.js';
import type { Traffic } from './stats.js';
import type { Telemetry } from './telemetry.js';

/** What a session needs of its relay. */
export interface SessionHost extends ConnectionHost {
  readonly telemetry: Telemetry;
  readonly cluster: Cluster | undefined;
  /** Decides whether a connection that is open already is accepted. */
  checkAdmission(request: IncomingMessage, context?: unknown, host?: string): Promise<Admission>;
  /** The session no longer counts for `maxSessions`. */
  releaseSlot(): void;
  /** The connection is closed and the chats are ended. */
  onSessionEnd(session: ClientSession): void;
}

interface Deferred<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
}

function defer<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}

/** Size of the frames that are kept for a connection that is not admitted yet. */
const MAX_UNADMITTED_BYTES = 64 * 1024;

/** The identity, threads and pending sends of one client. Whatever an idle session does not need is made on demand. */
export class ClientSession
  implements Session, SendingSession, ConnectionOwner, InboxOwner, ThreadHooks, ClusteredSession
{
  identity: unknown;
  isAdmitted = false;
  readonly #host: SessionHost;
  readonly #connection: Connection;
  readonly #client: ArcClient;
  #id: string | undefined;
  /** Exists while frames have to wait. */
  #inbox: Inbox | undefined;
  #sends: PendingSends | undefined;
  #threads: ThreadManager | undefined;
  /** What the store of the cluster has of this session. */
  #record: ClusterSession | undefined;
  /** `end` frames that are not answered yet. */
  #ends: Set<Promise<void>> | undefined;
  #hasLeft = false;
  /** Set once the chats are being ended. */
  #ending: Promise<ChatOutcome[]> | undefined;
  #closed: Deferred<ChatOutcome[]> | undefined;

  /** @throws TypeError if the socket is attached already, or if `client` is not an ArcClient */
  constructor(host: SessionHost, socket: WebSocket, request: IncomingMessage, options: AttachOptions) {
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

  get request(): IncomingMessage {
    return this.#connection.request;
  }

  get closed(): Promise<ChatOutcome[]> {
    return this.#whenClosed().promise;
  }

  #whenClosed(): Deferred<ChatOutcome[]> {
    this.#closed ??= defer();
    return this.#closed;
  }

  get threads(): ThreadManager {
    if (this.#threads === undefined) {
      const { busy, cleanupTimeout, logger, sessionToken } = this.#host.config;
      const token = sessionToken === undefined ? undefined : () => sessionToken(this);
      this.#record = this.#host.cluster?.register(this);
      const observer = this.#record;
      this.#threads = new ThreadManager(this.#client, { busy, cleanupTimeout, logger, hooks: this, token, observer });
    }
    return this.#threads;
  }

  get pending(): number {
    return this.#sends?.size ?? 0;
  }

  /** Pending sends that wait for another send of their thread. */
  get waiting(): number {
    return this.#sends?.waiting ?? 0;
  }

  get threadCount(): number {
    return this.#threads?.threadCount ?? 0;
  }

  get traffic(): Traffic {
    return this.#connection.traffic;
  }

  get heldBytes(): number {
    return this.#inbox?.bytes ?? 0;
  }

  get isIdle(): boolean {
    const isEnding = this.#threads !== undefined && this.#threads.endingCount > 0;
    return this.pending === 0 && !isEnding && this.#inbox?.isAwaiting !== true;
  }

  /** Admits the connection: at once if its identity is known. */
  begin(options: AttachOptions): void {
    if (!this.#connection.isOpen) return;
    if ('identity' in options) this.#open(options.identity);
    else this.#frames().await(this.#admit(options));
  }

  /** Frames are held until this is fulfilled. */
  async #admit({ context, host }: AttachOptions): Promise<void> {
    try {
      const admission = await this.#host.checkAdmission(this.request, context, host);
      if ('identity' in admission) return this.#open(admission.identity);
      this.#inbox?.take(() => true);
      this.close(admission.refused.closeCode, admission.refused.message);
    } catch (error) {
      this.onFailure(error);
    }
  }

  #open(identity: unknown): void {
    this.identity = identity;
    if (!this.#connection.isOpen) return;
    this.isAdmitted = true;
    this.#host.telemetry.sessionOpened(this);
  }

  // Frames of the client

  onFrame(frame: ReadFrame, text: string, bytes: number): void {
    if (!(frame instanceof BadFrame) && frame.type === 'cancel') {
      // Its send may be held, so it does not wait for its turn.
      if (!this.#connection.isFull) return this.#cancel(frame.id);
      // A client that does not read gets answers for pending sends only.
      this.#sends?.cancel(frame.id);
    }
    if (this.#inbox === undefined) return this.#handle(frame, text, bytes);
    const { maxPending, maxPendingBytes } = this.#host.config;
    const limit = this.isAdmitted ? maxPendingBytes : Math.min(maxPendingBytes, MAX_UNADMITTED_BYTES);
    const isFull = this.#inbox.size >= maxPending;
    if (this.#inbox.hold(frame, text, bytes, limit - this.heldBytes - (this.#sends?.bytes ?? 0))) return;
    const problem = isFull ? 'Too many frames are waiting' : `More than ${limit} bytes are pending`;
    this.refuse(new RateLimitExceededError(problem), frame instanceof BadFrame ? frame.echo : echoOf(frame));
  }

  onExcessFrame(echo: FrameEcho): void {
    this.refuse(new RateLimitExceededError('Too many frames a second'), echo);
  }

  onHeldFrame({ text, bytes, bad }: HeldFrame): void {
    this.#handle(bad ?? readFrame(text, this.#host.config.maxFrameDepth), text, bytes);
  }

  onEmpty(): void {
    this.#inbox = undefined;
  }

  #handle(frame: ReadFrame, text: string, bytes: number): void {
    if (!this.#connection.isOpen) return;
    if (frame instanceof BadFrame) return this.refuse(frame.error, frame.echo);
    const checked = frame.type === 'ping' ? undefined : this.#host.cluster?.check();
    const awaited =
      checked === undefined ? this.#handleAtOnce(frame, text, bytes) : this.#handleAfter(checked, frame, text, bytes);
    if (awaited !== undefined) this.#frames().await(awaited);
  }

  /** After a gap in which another node may have taken the session over, or while the cluster's store is away. */
  async #handleAfter(checked: Promise<void>, frame: ClientFrame, text: string, bytes: number): Promise<void> {
    try {
      await checked;
      if (!this.#connection.isOpen) return;
      await this.#handleAtOnce(frame, text, bytes);
    } catch (error) {
      this.writeError(error, writeEcho(echoOf(frame)));
    }
  }

  /** Returns a promise where the next frame has to wait. */
  #handleAtOnce(frame: ClientFrame, text: string, bytes: number): Promise<void> | undefined {
    if (isMessage(frame)) return this.#sending().add(frame, text, bytes);
    this.acceptFrame();
    if (frame.type === 'ping') this.writeSoon(`{"type":"pong"${writeEcho({ id: frame.id })}}` as Bytes);
    else if (frame.type === 'cancel') this.#cancel(frame.id);
    else this.#endThread(frame as EndFrame);
    return undefined;
  }

  #frames(): Inbox {
    this.#inbox ??= new Inbox(this, this.#host.config.maxPending);
    return this.#inbox;
  }

  #sending(): PendingSends {
    if (this.#sends === undefined) {
      this.#sends = new PendingSends(this, this.#host.config, this.#host.telemetry);
      if (this.#connection.isFull) this.#sends.pause();
    }
    return this.#sends;
  }

  #cancel(id: string | number): void {
    this.acceptFrame();
    const held = this.#inbox?.take((frame) => frame.isMessage && frame.echo.id === id) ?? [];
    this.#sends?.cancel(id);
    for (const { echo } of held) this.#sending().reject(echo);
  }

  #endThread(frame: EndFrame): void {
    const echo = writeEcho(frame);
    const { agent_id, context_id: contextId, reason, trace_id: traceId } = frame;
    const end = this.threads.endThread(agent_id, { contextId, reason, traceId }).then(
      (outcome) => {
        if (outcome?.ok === false) return this.writeError(outcome.error, echo);
        const response = outcome?.text ? `,"response":${encode(outcome.text)}` : '';
        this.writeSoon(`{"type":"ended"${echo}${response}}` as Bytes);
      },
      (error: unknown) => this.writeError(error, echo),
    );
    this.#ends ??= new Set();
    this.#ends.add(end);
    void end.then(() => this.#ends?.delete(end));
  }

  refuse(error: unknown, echo: FrameEcho): void {
    this.writeError(error, writeEcho(echo));
    if (this.#connection.countBadFrame()) this.close(CloseCode.TooManyBadFrames, 'Too many bad frames');
  }

  acceptFrame(): void {
    this.#connection.resetBadFrames();
  }

  // Frames to the client

  write(frame: Bytes): void {
    this.#connection.write(frame);
  }

  writeSoon(frame: Bytes): void {
    this.#connection.writeSoon(frame);
  }

  writePart(frame: Bytes): void {
    this.#connection.writePart(frame);
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
    if (this.#connection.isFull) {
      this.#frames().pause();
      this.#sends?.pause();
    } else {
      this.#inbox?.resume();
      if (!this.#connection.isFull) this.#sends?.resume();
    }
  }

  // Chats

  onStart(thread: ThreadEntry): void {
    this.#host.telemetry.chatStarted(this, thread);
  }

  onRestart(thread: ThreadEntry): void {
    this.#host.telemetry.chatRestarted(this, thread);
  }

  onEnd(outcome: ChatOutcome): void {
    this.#host.telemetry.chatEnded(this, outcome);
  }

  /** Another node owns the session: it is not ended here, but goes on there. */
  onLost(): void {
    this.#threads?.clear();
    this.close(CloseCode.ServiceRestart, 'The session has moved');
  }

  // The end

  close(code: number = CloseCode.Normal, reason = ''): void {
    // Pending sends are answered with `cancelled` before the close frame.
    void this.#endChats();
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
    this.#connection.terminate();
  }

  /** Called regularly by the relay. */
  sweep(pings: boolean, idleSweeps: number): void {
    try {
      this.#connection.sweep(pings, idleSweeps);
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

  onDisconnect(): void {
    void this.#finish();
  }

  onClosed(code: number, error: unknown): void {
    const { logger } = this.#host.config;
    const about = { ...this.#about(error), code };
    if (error !== undefined) logger.warn(about, 'a connection failed');
    else if (code === CloseCode.Abnormal) logger.info(about, 'a connection was lost');
    else logger.debug(about, 'a connection was closed');
    void this.#finish().then((outcomes) => {
      if (this.isAdmitted) this.#host.telemetry.sessionClosed(this, outcomes);
      if (this.#record !== undefined) this.#host.cluster?.unregister(this.#record);
      this.#whenClosed().resolve(outcomes);
      this.#host.onSessionEnd(this);
    });
  }

  /** The client has left. What becomes of its pending sends is up to `onDisconnect`. */
  async #finish(): Promise<ChatOutcome[]> {
    this.#leave();
    const pending = this.#startNothing();
    if (this.#host.config.onDisconnect === 'finish' && this.#ending === undefined) {
      // Nobody reads the answers, so nothing may hold them up.
      this.#sends?.resume();
      await pending;
    }
    return this.#endChats();
  }

  #endChats(): Promise<ChatOutcome[]> {
    this.#leave();
    if (this.#ending === undefined) {
      void this.#startNothing();
      this.#ending = this.#threads?.endAllChats({ reason: 'disconnected' }) ?? Promise.resolve([]);
    }
    return this.#ending;
  }

  /** Answers the messages that are held with `cancelled`. Resolves when no send is pending. */
  #startNothing(): Promise<void> {
    for (const { echo } of this.#inbox?.take(({ isMessage }) => isMessage) ?? []) this.#sending().reject(echo);
    return this.#sending().drain();
  }

  #leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#host.releaseSlot();
  }

  /** Lets pending sends end, and starts no new ones. */
  async drain(): Promise<void> {
    await Promise.all([this.#startNothing(), ...(this.#ends ?? [])]);
  }

  /** Cancels what is still pending, and closes the connection. */
  shutDown(): void {
    const code = this.#host.cluster === undefined ? CloseCode.GoingAway : CloseCode.ServiceRestart;
    this.close(code, 'The server is shutting down');
  }
}
