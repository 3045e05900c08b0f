import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { RawData, WebSocket } from 'ws';
import {
  AgentNotFoundError,
  AuthorizationError,
  InvalidRequestError,
  RateLimitExceededError,
} from '../protocol/errors.js';
import type { ArcMessage } from '../protocol/types.js';
import type { ChatOutcome } from '../threads/ending.js';
import type { ThreadEntry } from '../threads/store.js';
import type { ThreadHooks } from '../threads/table.js';
import { tell } from '../threads/tell.js';
import { ThreadManager } from '../threads/thread-manager.js';
import type { Admission } from './doors.js';
import { describeFailure, writeFailure } from './failure.js';
import {
  BadFrame,
  type ClientFrame,
  type EndFrame,
  type FrameEcho,
  type MessageFrame,
  readEcho,
  readFrame,
} from './frames.js';
import { Inbox, type InboxOwner } from './inbox.js';
import type { RelayConfig } from './options.js';
import { Outbound, type OutboundOwner } from './outbound.js';
import { Reply, writeEcho } from './reply.js';

/** What a session needs of its relay. */
export interface SessionHost {
  readonly config: RelayConfig;
  /** Counts the sweeps of all sessions: a clock that costs nothing to read. */
  readonly sweeps: number;
  /** Lets a connection in, or not. */
  judge(request: IncomingMessage): Promise<Admission>;
  /** The session has nothing left to do. */
  ended(session: Session): void;
}

export interface AttachOptions {
  /** Who connects, where that is known already: nothing is asked any more, of `authenticate` or the Origin. */
  identity?: unknown;
  /** The client to the agents, in place of the relay's. */
  client?: RelayConfig['client'];
}

/** One WebSocket connection: its frames in and out, and its threads. */
export class Session implements ThreadHooks, InboxOwner, OutboundOwner {
  readonly id: string = randomUUID();
  readonly threads: ThreadManager;
  readonly request: IncomingMessage;
  /** What `authenticate` gave, or the host of the relay; undefined until it is known. */
  identity: unknown;
  /** Resolves when the connection is gone and its chats are ended, or could not be. */
  readonly closed: Promise<ChatOutcome[]>;

  readonly #host: SessionHost;
  readonly #socket: WebSocket;
  readonly #out: Outbound;
  readonly #replies = new Set<Reply>();
  readonly #inbox: Inbox;
  #wasLetIn = false;
  #badFrames = 0;
  /** When the current second began, and the frames since: only where `frameRate` is set. */
  #second = 0;
  #frames = 0;
  /** `end` frames that are not answered yet. */
  #ends = 0;
  #isAlive = true;
  #lastActivity: number;
  #isDraining = false;
  #drained: (() => void) | undefined;
  #ending: Promise<ChatOutcome[]> | undefined;
  #error: unknown;
  #resolveClosed!: (outcomes: ChatOutcome[]) => void;

  /** @internal */
  constructor(host: SessionHost, socket: WebSocket, request: IncomingMessage, options: AttachOptions) {
    const { config } = host;
    this.#host = host;
    this.#socket = socket;
    this.request = request;
    this.#lastActivity = host.sweeps;
    this.#out = new Outbound(socket, request.socket, config.maxBufferedBytes, this);
    this.#inbox = new Inbox(this, config.maxPending);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    const { sessionToken } = config;
    this.threads = new ThreadManager(options.client ?? config.client, {
      busy: config.busy,
      cleanupTimeout: config.cleanupTimeout,
      logger: config.logger,
      hooks: this,
      token: sessionToken === undefined ? undefined : () => sessionToken(this),
    });
    socket.binaryType = 'nodebuffer';
    socket.on('message', this.#onMessage);
    socket.on('close', this.#onClose);
    socket.on('error', this.#onError);
    socket.on('pong', this.#onPong);
    if (socket.readyState === socket.CLOSED) queueMicrotask(() => this.#onClose(1006));
  }

  /** Lets the connection in: at once, where it is known who connects. @internal */
  begin(options: AttachOptions): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if ('identity' in options) this.#open(options.identity);
    else this.#inbox.await(this.#admit());
  }

  /** @internal */
  get bare(): boolean {
    return this.#host.config.bare;
  }

  /** Sends that run or wait. */
  get pending(): number {
    return this.#replies.size;
  }

  /**
   * Closes the connection and ends its chats. A reason of more than 123 bytes is cut.
   * @throws TypeError where the code is none that a server may send: 1000 to 1014, or 3000 to 4999
   */
  close(code = 1000, reason = ''): void {
    // Sends that are not answered get `cancelled`, which has to leave before the close frame.
    void this.#endAll();
    try {
      this.#socket.close(code, cutReason(reason));
    } catch (error) {
      // A code that there is not. Without its chats the connection is of no use.
      this.terminate();
      throw error;
    }
  }

  /** Ends what there is, once: the peer may take its time to answer the closing handshake. */
  #endAll(): Promise<ChatOutcome[]> {
    this.#ending ??= this.threads.endAllChats({ reason: 'disconnected' });
    return this.#ending;
  }

  /** Drops the connection without a word. @internal */
  terminate(): void {
    this.#socket.terminate();
  }

  /** Lets in who may come; the frames that come meanwhile are kept. */
  async #admit(): Promise<void> {
    try {
      const admission = await this.#host.judge(this.request);
      if ('identity' in admission) return this.#open(admission.identity);
      this.#inbox.clear();
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

  readonly #onMessage = (data: RawData | string, isBinary?: boolean): void => {
    this.#isAlive = true;
    this.#lastActivity = this.#host.sweeps;
    // ws 7 gives text as a string, and everything else is binary; ws 8 says so.
    if (isBinary ?? typeof data !== 'string') return this.close(1003, 'Frames must be text');
    const bytes = typeof data === 'string' ? Buffer.byteLength(data) : (data as Buffer).length;
    if (bytes > this.#host.config.maxFrameBytes) return this.close(1009, 'The frame is too large');
    const text = data.toString();
    if (this.#isTooFast()) return this.#refuse(new RateLimitExceededError('Too many frames a second'), readEcho(text));
    this.#inbox.push(text);
  };

  onOverflow(text: string): void {
    this.#refuse(new RateLimitExceededError('Too many frames are waiting'), readEcho(text));
  }

  #isTooFast(): boolean {
    const { frameRate } = this.#host.config;
    if (frameRate === Number.POSITIVE_INFINITY) return false;
    const now = performance.now();
    if (now - this.#second >= 1000) {
      this.#second = now;
      this.#frames = 0;
    }
    this.#frames += 1;
    return this.#frames > frameRate;
  }

  onFrame(text: string): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    const frame = readFrame(text);
    if (frame instanceof BadFrame) return this.#refuse(frame.error, frame.echo);
    if (isMessage(frame)) return this.#route(frame);
    this.#badFrames = 0;
    if (frame.type === 'ping') this.write(`{"type":"pong"${writeEcho({ id: frame.id })}}`);
    else if (frame.type === 'cancel') this.#cancel(frame.id);
    else void this.#end(frame);
  }

  /** Finds the agent of a message, and whether it may be sent there; without functions to ask that takes no turn. */
  #route(frame: MessageFrame): void {
    const { route, authorize } = this.#host.config;
    if (frame.agent_id === undefined && route === undefined) {
      this.#refuse(new InvalidRequestError('agent_id: is missing'), frame);
    } else if (frame.agent_id !== undefined && authorize === undefined) {
      try {
        this.#send(frame, frame.agent_id, true);
      } catch (error) {
        this.writeError(error, writeEcho(frame));
      }
    } else {
      this.#inbox.await(this.#ask(frame));
    }
  }

  async #ask(frame: MessageFrame): Promise<void> {
    const { route, authorize } = this.#host.config;
    try {
      const agentId = frame.agent_id ?? (await route?.(frame, this));
      if (typeof agentId !== 'string' || agentId === '') throw new AgentNotFoundError('No agent for this frame');
      const isAuthorized = authorize === undefined || (await authorize(this.identity, agentId, frame)) === true;
      // Where the connection has gone meanwhile, nobody would end the chat.
      if (this.#ending === undefined) this.#send(frame, agentId, isAuthorized);
    } catch (error) {
      this.writeError(error, writeEcho(frame));
    }
  }

  #send(frame: MessageFrame, agentId: string, isAuthorized: boolean): void {
    const { config } = this.#host;
    if (!isAuthorized || (config.isAgentAllowed !== undefined && config.isAgentAllowed(agentId) !== true)) {
      return this.#refuse(new AuthorizationError(`Agent "${agentId}" is not allowed`), frame);
    }
    if (this.#replies.size + this.#ends >= config.maxPending) {
      return this.#refuse(new RateLimitExceededError(`More than ${config.maxPending} sends are pending`), frame);
    }
    if (this.threads.threadCount >= config.maxThreads && !this.threads.hasThread(agentId, frame.context_id)) {
      return this.#refuse(new RateLimitExceededError(`More than ${config.maxThreads} threads are open`), frame);
    }
    this.#badFrames = 0;
    const reply = new Reply(this, frame);
    if (this.#isDraining) return reply.onCancelled();
    this.#replies.add(reply);
    reply.send = this.threads.dispatch(
      {
        agentId,
        contextId: frame.context_id,
        message: frame.message as ArcMessage,
        traceId: frame.trace_id,
        stream: (frame.stream ?? config.stream) || undefined,
        metadata: frame.metadata as Record<string, unknown> | undefined,
        timeout: config.sendTimeout,
        streamIdleTimeout: config.streamIdleTimeout,
      },
      reply,
    );
    if (this.#out.isFull) reply.send.pause();
  }

  /** Abandons the sends of that id; one that is not pending has been answered. */
  #cancel(id: string | number): void {
    for (const reply of this.#replies) if (reply.id === id) reply.send?.cancel();
  }

  async #end(frame: EndFrame): Promise<void> {
    const { agent_id, context_id, reason, trace_id } = frame;
    this.#ends += 1;
    const outcome = await this.threads.endThread(agent_id, { contextId: context_id, reason, traceId: trace_id });
    this.#ends -= 1;
    const echo = writeEcho(frame);
    if (outcome?.ok === false) this.writeError(outcome.error, echo);
    else this.write(`{"type":"ended"${echo}${outcome?.text ? `,"response":${outcome.text}` : ''}}`);
  }

  /** A frame that is not valid, or not let through: it costs an error frame, and too many in a row the connection. */
  #refuse(error: unknown, echo: FrameEcho): void {
    this.writeError(error, writeEcho(echo));
    this.#badFrames += 1;
    if (this.#badFrames >= this.#host.config.maxBadFrames) this.close(4429, 'Too many bad frames');
  }

  /** A send has its last frame. @internal */
  ended(reply: Reply): void {
    this.#replies.delete(reply);
    if (this.#isDraining && this.#replies.size === 0) this.#drained?.();
  }

  /** @internal */
  write(frame: string): void {
    this.#lastActivity = this.#host.sweeps;
    this.#out.write(frame);
  }

  /** Writes an error frame: of an agent what it said, of this side only what a client may know. @internal */
  writeError(error: unknown, echo: string): void {
    const { data, isInternal } = describeFailure(error);
    const { logger } = this.#host.config;
    if (isInternal) logger.error(this.#about(error), 'a send failed');
    else logger.debug(this.#about(error), 'a frame or send failed');
    this.write(`{"type":"error"${echo},"data":${writeFailure(data)}}`);
  }

  /** What a log line is about. */
  #about(err: unknown): { session: string; err: unknown } {
    return { session: this.id, err };
  }

  /** Who does not read what it asked for is not asked what else it wants: neither its agents nor its frames are read on. */
  onFull(): void {
    this.#inbox.shut();
    for (const reply of this.#replies) reply.send?.pause();
  }

  onDrain(): void {
    this.#inbox.open();
    if (this.#out.isFull) return;
    for (const reply of this.#replies) reply.send?.resume();
  }

  onStart(thread: ThreadEntry): void {
    this.#tell('onStart', thread);
  }

  onRestart(thread: ThreadEntry): void {
    this.#tell('onRestart', thread);
  }

  onEnd(outcome: ChatOutcome): void {
    this.#tell('onEnd', outcome);
  }

  #tell(name: 'onOpen' | 'onClose' | 'onStart' | 'onRestart' | 'onEnd', about?: unknown): void {
    const { hooks, logger } = this.#host.config;
    tell(
      () => (hooks[name] as ((session: Session, about: unknown) => unknown) | undefined)?.call(hooks, this, about),
      (err) => {
        logger.error(this.#about(err), `the hook ${name} threw`);
      },
    );
  }

  readonly #onPong = (): void => {
    this.#isAlive = true;
  };

  readonly #onError = (error: unknown): void => {
    this.#error = error;
  };

  readonly #onClose = (code: number): void => {
    const { logger } = this.#host.config;
    const about = { ...this.#about(this.#error), code };
    if (this.#error !== undefined) logger.warn(about, 'a connection failed');
    else if (code === 1006) logger.info(about, 'a connection was lost');
    else logger.debug(about, 'a connection was closed');
    this.#inbox.clear();
    void this.#endAll().then((outcomes) => {
      if (this.#wasLetIn) this.#tell('onClose', outcomes);
      this.#resolveClosed(outcomes);
      this.#host.ended(this);
    });
  };

  /** Called now and then by the relay. @internal */
  sweep(pings: boolean, idleSweeps: number): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (idleSweeps > 0 && this.#replies.size === 0 && this.#host.sweeps - this.#lastActivity >= idleSweeps) {
      return this.close(4408, 'Idle for too long');
    }
    if (!pings) return;
    if (!this.#isAlive) return this.terminate();
    this.#isAlive = false;
    this.#socket.ping();
  }

  /** Lets pending sends finish, and new ones not begin. @internal */
  drain(): Promise<void> {
    this.#isDraining = true;
    if (this.#replies.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Cancels what did not finish, and closes the connection. @internal */
  shutDown(): void {
    this.close(1001, 'The server is shutting down');
  }
}

function isMessage(frame: ClientFrame): frame is MessageFrame {
  return frame.type === undefined || frame.type === 'message';
}

/** A close reason has at most 123 bytes (RFC 6455, 5.5); it is cut between two characters. */
function cutReason(reason: string): string {
  const bytes = Buffer.from(reason);
  if (bytes.length <= 123) return reason;
  let end = 123;
  while (((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
