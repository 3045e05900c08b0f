import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { RawData, WebSocket } from 'ws';
import { type Bytes, encode } from '../bytes.js';
import { invokeHook } from '../hooks.js';
import { RateLimitExceededError } from '../protocol/errors.js';
import type { ChatOutcome } from '../threads/ending.js';
import type { ThreadHooks } from '../threads/options.js';
import { checkClient } from '../threads/options.js';
import type { ThreadEntry } from '../threads/store.js';
import { ThreadManager } from '../threads/thread-manager.js';
import { describeFailure, writeFailure } from './failure.js';
import {
  BadFrame,
  type EndFrame,
  echoOf,
  type FrameEcho,
  isMessage,
  type MessageFrame,
  readEcho,
  readFrame,
} from './frames.js';
import { Inbox, type InboxOwner, type ReadFrame } from './inbox.js';
import type { RelayConfig, RelayHooks, SendState } from './options.js';
import { Outbound, type OutboundOwner } from './outbound.js';
import type { Admission } from './refusal.js';
import type { Counters } from './relay.js';
import { type Reply, writeEcho } from './reply.js';
import { Sends } from './sends.js';

/** What a session needs of its relay. */
export interface SessionHost {
  readonly config: RelayConfig;
  readonly counters: Counters;
  /** Counts the sweeps of all sessions: a clock that costs nothing to read. */
  readonly sweeps: number;
  /** Decides whether a connection that is open already is accepted. */
  checkAdmission(request: IncomingMessage, context?: unknown, host?: string): Promise<Admission>;
  /** The connection is gone, or is being closed: its place is free. */
  left(): void;
  /** The session has nothing left to do. */
  ended(session: Session): void;
}

export interface AttachOptions {
  /** Who connects, where that is known already: nothing is asked any more, of `authenticate` or the Origin. */
  identity?: unknown;
  /** Handed to `authenticate`, where that is still to be asked: the framework's own idea of the request. */
  context?: unknown;
  /** The host that the client asked for, where the framework knows it better than the Host header does. */
  host?: string | undefined;
  /** The client to the agents, in place of the relay's. */
  client?: RelayConfig['client'];
}

/** Where a socket keeps its session: functions of each session's own would take as much memory as the session itself. */
const SESSION = Symbol('session');

type Driven = WebSocket & { [SESSION]: Session };

function onMessage(this: WebSocket, data: RawData | string, isBinary?: boolean): void {
  (this as Driven)[SESSION].onMessage(data, isBinary);
}

function onPong(this: WebSocket): void {
  (this as Driven)[SESSION].onPong();
}

/** How many bytes came over a connection. A request that a test has injected has no socket, and does not know. */
function bytesRead({ socket }: { socket: IncomingMessage['socket'] | undefined }): number | undefined {
  return socket?.bytesRead;
}

function onError(this: WebSocket, error: unknown): void {
  (this as Driven)[SESSION].onError(error);
}

function onClose(this: WebSocket, code: number): void {
  (this as Driven)[SESSION].onClose(code);
}

/** One WebSocket connection: its frames in and out, and its threads. While it rests, it has as little as may be. */
export class Session implements ThreadHooks, InboxOwner, OutboundOwner {
  readonly request: IncomingMessage;
  /** What `authenticate` gave, or the host of the relay; undefined until it is known. */
  identity: unknown;
  #id: string | undefined;
  readonly #host: SessionHost;
  readonly #socket: WebSocket;
  readonly #out: Outbound;
  /** Where frames are kept; before there is a reason to keep any there is none. */
  #inbox: Inbox | undefined;
  /** As well only when there is something for them. */
  #sends: Sends | undefined;
  #threads: ThreadManager | undefined;
  readonly #client: RelayConfig['client'];
  #wasLetIn = false;
  #hasLeft = false;
  #badFrames = 0;
  /** What of `frameRate` was used, and when that was reckoned. */
  #used = 0;
  #reckoned = 0;
  #lastActivity: number;
  /** `end` frames that are being answered. */
  #ends: Promise<unknown> | undefined;
  /** Bytes that had come from the client when it was pinged last, and that waited for it; negative: it is alive. */
  #received: number | undefined = -1;
  #backlog = 0;
  /** Runs while the client does not read. */
  #stalled: NodeJS.Timeout | undefined;
  #ending: Promise<ChatOutcome[]> | undefined;
  #error: unknown;
  /** Made for whoever asks for it, or when there is something to say. */
  #closed: Promise<ChatOutcome[]> | undefined;
  #resolveClosed: ((outcomes: ChatOutcome[]) => void) | undefined;

  /** @internal */
  constructor(host: SessionHost, socket: WebSocket, request: IncomingMessage, options: AttachOptions) {
    const { config } = host;
    const { client = config.client } = options;
    checkClient(client);
    const isDriven = (socket as Partial<Driven>)[SESSION] !== undefined && socket.readyState !== socket.CLOSED;
    if (isDriven) throw new TypeError('socket: is attached already');
    this.#host = host;
    this.#socket = socket;
    this.request = request;
    this.#lastActivity = host.sweeps;
    this.#out = new Outbound(socket, request.socket, config.maxBufferedBytes, this);
    this.#client = client;
    socket.binaryType = 'nodebuffer';
    (socket as Driven)[SESSION] = this;
    socket.on('message', onMessage);
    socket.on('close', onClose);
    socket.on('error', onError);
    // A fourth listener would take a hundred bytes for a larger table of them; what came tells as much.
    if (bytesRead(request) === undefined) socket.on('pong', onPong);
    if (socket.readyState === socket.CLOSED) queueMicrotask(() => this.onClose(1006));
  }

  /** Names the connection in logs. */
  get id(): string {
    this.#id ??= randomUUID();
    return this.#id;
  }

  /** Resolves when the connection is gone and its chats are ended, or could not be. */
  get closed(): Promise<ChatOutcome[]> {
    this.#closed ??= new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    return this.#closed;
  }

  get threads(): ThreadManager {
    if (this.#threads === undefined) {
      const { busy, cleanupTimeout, logger, sessionToken } = this.#host.config;
      const token = sessionToken === undefined ? undefined : () => sessionToken(this);
      this.#threads = new ThreadManager(this.#client, { busy, cleanupTimeout, logger, hooks: this, token });
    }
    return this.#threads;
  }

  get #sending(): Sends {
    if (this.#sends === undefined) {
      this.#sends = new Sends(this, this.#host.config);
      if (this.#out.isFull) this.#sends.pause();
    }
    return this.#sends;
  }

  /** Lets the connection in: at once, where it is known who connects. @internal */
  begin(options: AttachOptions): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if ('identity' in options) this.#open(options.identity);
    else this.#hold().await(this.#admit(options));
  }

  /** @internal */
  get bare(): boolean {
    return this.#host.config.bare;
  }

  /** Sends that run or wait. */
  get pending(): number {
    return this.#sends?.pending ?? 0;
  }

  /** Those of them that wait for their turn. @internal */
  get waiting(): number {
    return this.#sends?.waiting ?? 0;
  }

  /** Chats that are open. @internal */
  get threadCount(): number {
    return this.#threads?.threadCount ?? 0;
  }

  /**
   * Closes the connection and ends its chats. A reason of more than 123 bytes is cut.
   * @throws TypeError where the code is none that a server may send: 1000 to 1014, or 3000 to 4999
   */
  close(code = 1000, reason = ''): void {
    // Sends that are not answered get `cancelled`, which has to leave before the close frame.
    void this.#endAll();
    this.#out.flush();
    try {
      this.#socket.close(code, cutReason(reason));
    } catch (error) {
      // A code that there is not. Without its chats the connection is of no use.
      this.terminate();
      throw error;
    }
  }

  /**
   * Answers what was not begun, and ends what there is, once: the peer may take its time to answer the closing
   * handshake.
   */
  #endAll(): Promise<ChatOutcome[]> {
    this.#leave();
    if (this.#ending === undefined) {
      void this.#stopTaking();
      this.#ending = this.#threads?.endAllChats({ reason: 'disconnected' }) ?? Promise.resolve([]);
    }
    return this.#ending;
  }

  /** Begins nothing more. Gives a promise of what is pending. */
  #stopTaking(): Promise<void> {
    for (const frame of this.#inbox?.take(isMessage) ?? []) this.#sending.refuse(frame as MessageFrame);
    return this.#sending.drain();
  }

  #hold(): Inbox {
    this.#inbox ??= new Inbox(this, this.#host.config.maxPending);
    return this.#inbox;
  }

  #leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    clearTimeout(this.#stalled);
    this.#host.left();
  }

  /** Drops the connection without a word. @internal */
  terminate(): void {
    this.#socket.terminate();
  }

  /** Lets in who may come; the frames that come meanwhile are kept. */
  async #admit({ context, host }: AttachOptions): Promise<void> {
    try {
      const admission = await this.#host.checkAdmission(this.request, context, host);
      if ('identity' in admission) return this.#open(admission.identity);
      this.#inbox?.take(() => true);
      this.close(admission.refused.closeCode, admission.refused.message);
    } catch (err) {
      this.#host.config.logger.error(this.#about(err), 'the relay failed');
      this.close(1011, 'The relay failed');
    }
  }

  #open(identity: unknown): void {
    this.identity = identity;
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#wasLetIn = true;
    this.#tell('onOpen');
  }

  /** @internal */
  onMessage(data: RawData | string, isBinary: boolean | undefined): void {
    const { config, sweeps } = this.#host;
    this.#lastActivity = sweeps;
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    // ws 7 gives text as a string, and everything else is binary; ws 8 says so.
    if (isBinary ?? typeof data !== 'string') return this.close(1003, 'Frames must be text');
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : (data as Buffer).length;
    if (bytes > config.maxFrameBytes) {
      // As the socket does where the limit is its own: whatever host it is, what is pending gets no frame after 1009.
      this.#out.flush();
      this.#socket.close(1009, 'The frame is too large');
      void this.#endAll();
      return;
    }
    const text = data.toString();
    if (this.#isTooFast()) return this.refuse(new RateLimitExceededError('Too many frames a second'), readEcho(text));
    const frame = readFrame(text, config.maxFrameDepth);
    if (!(frame instanceof BadFrame) && frame.type === 'cancel') {
      // What it is about may be waiting in the inbox, and need not be waited for.
      if (!this.#out.isFull) return this.#cancel(frame.id);
      // But who does not read gets no more answers than to what is pending.
      this.#sends?.cancel(frame.id);
    }
    if (this.#inbox === undefined) this.onFrame(frame);
    else this.#inbox.push(frame);
  }

  onEmpty(): void {
    this.#inbox = undefined;
  }

  onOverflow(frame: ReadFrame): void {
    const echo = frame instanceof BadFrame ? frame.echo : echoOf(frame);
    this.refuse(new RateLimitExceededError('Too many frames are waiting'), echo);
  }

  /** A token bucket: it holds `frameRate` frames, and as many flow in each second. */
  #isTooFast(): boolean {
    const { frameRate } = this.#host.config;
    if (frameRate === Number.POSITIVE_INFINITY) return false;
    const now = performance.now();
    this.#used = Math.max(0, this.#used - ((now - this.#reckoned) * frameRate) / 1000);
    this.#reckoned = now;
    if (this.#used + 1 > frameRate) return true;
    this.#used += 1;
    return false;
  }

  onFrame(frame: ReadFrame): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (frame instanceof BadFrame) return this.refuse(frame.error, frame.echo);
    if (isMessage(frame)) {
      const asked = this.#sending.add(frame);
      if (asked !== undefined) this.#hold().await(asked);
      return;
    }
    this.accepted();
    if (frame.type === 'ping') this.writeSoon(`{"type":"pong"${writeEcho({ id: frame.id })}}` as Bytes);
    else if (frame.type === 'cancel') this.#cancel(frame.id);
    else this.#ends = Promise.all([this.#ends, this.#end(frame as EndFrame)]);
  }

  #cancel(id: string | number): void {
    this.accepted();
    const held = this.#inbox?.take((frame) => isMessage(frame) && frame.id === id) ?? [];
    this.#sends?.cancel(id);
    for (const frame of held) this.#sending.refuse(frame as MessageFrame);
  }

  async #end(frame: EndFrame): Promise<void> {
    const { agent_id, context_id, reason, trace_id } = frame;
    const outcome = await this.threads.endThread(agent_id, { contextId: context_id, reason, traceId: trace_id });
    const echo = writeEcho(frame);
    if (outcome?.ok === false) this.writeError(outcome.error, echo);
    else
      this.writeSoon(`{"type":"ended"${echo}${outcome?.text ? `,"response":${encode(outcome.text)}` : ''}}` as Bytes);
  }

  /** A frame that is not valid, or not let through: it costs an error frame, and too many in a row the connection. @internal */
  refuse(error: unknown, echo: FrameEcho): void {
    this.writeError(error, writeEcho(echo));
    this.#badFrames += 1;
    if (this.#badFrames >= this.#host.config.maxBadFrames) this.close(4429, 'Too many bad frames');
  }

  /** A frame was let through. @internal */
  accepted(): void {
    this.#badFrames = 0;
  }

  /** A send has its last frame. @internal */
  ended(reply: Reply, state: SendState, error?: unknown): void {
    this.#sends?.ended(reply);
    if (!this.#wasLetIn) return;
    const { counters, config } = this.#host;
    counters.sends[state] += 1;
    if (config.hooks.onSend !== undefined) {
      const { frame, restarted } = reply;
      this.#tell('onSend', { frame, state, restarted, error });
    }
  }

  /** @internal */
  write(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeps;
    this.#out.write(frame);
  }

  /** Writes a frame that leaves with what follows in this turn. @internal */
  writeSoon(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeps;
    this.#out.writeSoon(frame);
  }

  /** Writes a piece of an answer, by the end of the turn. @internal */
  writePart(frame: Bytes): void {
    this.#lastActivity = this.#host.sweeps;
    this.#out.writePart(frame);
  }

  /** Writes an error frame: of an agent what it said, of this side only what a client may know. @internal */
  writeError(error: unknown, echo: Bytes): void {
    const { data, isInternal } = describeFailure(error);
    const { logger } = this.#host.config;
    if (isInternal) logger.error(this.#about(error), 'a send failed');
    else logger.debug(this.#about(error), 'a frame or send failed');
    this.writeSoon(`{"type":"error"${echo},"data":${encode(writeFailure(data))}}` as Bytes);
  }

  /** What a log line is about. */
  #about(err: unknown): { session: string; err: unknown } {
    return { session: this.id, err };
  }

  /** Who does not read what it asked for is not asked what else it wants: neither its agents nor its frames are read on. */
  onFull(): void {
    const { stalledTimeout } = this.#host.config;
    if (stalledTimeout > 0) this.#stalled = setTimeout(() => this.#drop(), stalledTimeout).unref();
    this.#hold().shut();
    this.#sends?.pause();
  }

  onDrain(): void {
    this.#received = -1;
    clearTimeout(this.#stalled);
    this.#inbox?.open();
    if (!this.#out.isFull) this.#sends?.resume();
  }

  #drop(): void {
    this.close(1008, 'The client does not read');
    // The close frame stands behind what is not read.
    this.terminate();
  }

  onStart(thread: ThreadEntry): void {
    this.#host.counters.started += 1;
    this.#tell('onStart', thread);
  }

  onRestart(thread: ThreadEntry): void {
    this.#host.counters.restarted += 1;
    this.#tell('onRestart', thread);
  }

  onEnd(outcome: ChatOutcome): void {
    const { counters } = this.#host;
    counters[outcome.unconfirmed ? 'unconfirmed' : outcome.ok ? 'ended' : 'orphans'] += 1;
    counters.failedEnds += outcome.failures;
    this.#tell('onEnd', outcome);
  }

  #tell(name: keyof RelayHooks, about?: unknown): void {
    const { hooks, logger } = this.#host.config;
    invokeHook(
      () => (hooks[name] as ((session: Session, about: unknown) => unknown) | undefined)?.call(hooks, this, about),
      (err) => {
        logger.error(this.#about(err), `the hook ${name} threw`);
      },
    );
  }

  /** @internal */
  onPong(): void {
    this.#received = -1;
  }

  /** @internal */
  onError(error: unknown): void {
    this.#error = error;
  }

  /** @internal */
  onClose(code: number): void {
    const { logger } = this.#host.config;
    const about = { ...this.#about(this.#error), code };
    if (this.#error !== undefined) logger.warn(about, 'a connection failed');
    else if (code === 1006) logger.info(about, 'a connection was lost');
    else logger.debug(about, 'a connection was closed');
    this.#leave();
    void this.#finish().then((outcomes) => {
      if (this.#wasLetIn) this.#tell('onClose', outcomes);
      this.#closed ??= Promise.resolve(outcomes);
      this.#resolveClosed?.(outcomes);
      this.#host.ended(this);
    });
  }

  /** The connection is gone. What that does to pending sends is up to `onDisconnect`. */
  async #finish(): Promise<ChatOutcome[]> {
    const rest = this.#stopTaking();
    if (this.#host.config.onDisconnect === 'finish' && this.#ending === undefined) {
      // Nobody reads them any more, so nothing is to hold them up.
      this.#sends?.resume();
      await rest;
    }
    return this.#endAll();
  }

  /** Called now and then by the relay. @internal */
  sweep(pings: boolean, idleSweeps: number): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    const isEnding = this.#threads !== undefined && this.#threads.endingCount > 0;
    const isBusy = this.pending > 0 || isEnding || this.#inbox?.isAwaiting === true;
    if (idleSweeps > 0 && !isBusy && this.#host.sweeps - this.#lastActivity >= idleSweeps) {
      return this.close(4408, 'Idle for too long');
    }
    if (!pings) return;
    // Its pong waits behind what it has not read: that it reads shows that it lives.
    const backlog = this.#out.backlog;
    const received = bytesRead(this.request);
    if (received === this.#received && backlog >= this.#backlog) return this.terminate();
    this.#backlog = backlog;
    this.#received = received;
    this.#socket.ping();
  }

  /** Lets pending sends finish, and new ones not begin. @internal */
  drain(): Promise<unknown> {
    return Promise.all([this.#stopTaking(), this.#ends]);
  }

  /** Cancels what did not finish, and closes the connection. @internal */
  shutDown(): void {
    this.close(1001, 'The server is shutting down');
  }
}

/** A close reason has at most 123 bytes (RFC 6455, 5.5); it is cut between two characters. */
function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= 123) return reason;
  let end = 123;
  while (((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
