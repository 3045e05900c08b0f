import type { MessageFrame } from '@arc/thread-protocol';
import { type Deferred, defer } from '../../deferred.js';
import {
  AgentNotFoundError,
  ArcError,
  AuthorizationError,
  InvalidRequestError,
  RateLimitExceededError,
} from '../../protocol/errors.js';
import type { SendListener } from '../../threads/send-request.js';
import type { SendState, Session } from '../api.js';
import type { FrameEcho } from '../frames/frame-reader.js';
import type { Telemetry } from '../monitoring/telemetry.js';
import type { RelayConfig } from '../options.js';
import { MessageRequest } from './message-request.js';
import { Reply, type ReplyOutput, type ReplyOwner, writeEcho } from './reply.js';
import { Transcript } from './transcript.js';

/** The empty set that all sessions without further replies share. */
const NO_REPLIES: Set<Reply> = new Set();

/** Refused because of chats that are being ended, which is not the client's fault. */
class EndingBacklogError extends RateLimitExceededError {}

/** What pending sends need of their session. */
export interface SendingSession extends Session, ReplyOutput {
  /** Size of the frames that wait for their turn. */
  readonly heldBytes: number;
  /** The application knows of the session: it was admitted. */
  readonly isAdmitted: boolean;
  /** Answers a frame that the client should not have sent, and counts it. */
  refuse(error: unknown, echo: FrameEcho): void;
  /** A frame passed all checks. */
  acceptFrame(): void;
}

/** A message that waits for `route` or `authorize`. */
interface UndecidedMessage {
  readonly frame: MessageFrame;
  readonly text: string;
  readonly bytes: number;
  /** Lets the next frame have its turn. */
  proceed(): void;
}

/** The messages of one session: finds the agent of each, checks it, and keeps track until it is answered. */
export class PendingSends implements ReplyOwner {
  readonly #session: SendingSession;
  readonly #config: RelayConfig;
  readonly #telemetry: Telemetry;
  /** The oldest pending reply; usually the only one, so that a set is rarely needed. */
  #first: Reply | undefined;
  #others = NO_REPLIES;
  /** Size of the frames of all pending replies. */
  #bytes = 0;
  #undecided: UndecidedMessage | undefined;
  isPaused = false;
  /** No new send may start. */
  #isDraining = false;
  /** Exists while somebody waits for the last pending send. */
  #empty: Deferred<void> | undefined;

  constructor(session: SendingSession, config: RelayConfig, telemetry: Telemetry) {
    this.#session = session;
    this.#config = config;
    this.#telemetry = telemetry;
  }

  get bare(): boolean {
    return this.#config.bare;
  }

  get isTimed(): boolean {
    return this.#telemetry.wantsSends;
  }

  /** Sends that run or wait. */
  get size(): number {
    return this.#others.size + (this.#first === undefined ? 0 : 1);
  }

  /** Size of the message frames that are not answered yet. */
  get bytes(): number {
    return this.#bytes + (this.#undecided?.bytes ?? 0);
  }

  /** Sends that wait for another send of their thread. */
  get waiting(): number {
    let waiting = 0;
    for (const { isWaiting } of this.#all()) if (isWaiting) waiting += 1;
    return waiting;
  }

  /** The ids of all pending messages, with that which `route` or `authorize` decides about. */
  ids(): (string | number)[] {
    const ids = this.#all().map(({ id }) => id);
    return [...ids, this.#undecided?.frame.id].filter((id) => id !== undefined);
  }

  #all(): Reply[] {
    return this.#first === undefined ? [] : [this.#first, ...this.#others];
  }

  /**
   * Takes a message. Returns a promise if `route` or `authorize` has to decide first: no other message may be added
   * until it is fulfilled. It is never rejected, and does not wait for an answer that is no longer needed.
   */
  add(frame: MessageFrame, text: string, bytes: number): Promise<void> | undefined {
    const { route, authorize } = this.#config;
    if (this.#isDraining) {
      this.reject(frame);
    } else if (frame.agent_id === undefined && route === undefined) {
      this.#session.refuse(new InvalidRequestError('agent_id: is missing'), frame);
    } else if (frame.agent_id === undefined || authorize !== undefined) {
      return new Promise((proceed) => {
        this.#undecided = { frame, text, bytes, proceed };
        void this.#decide(this.#undecided).then(proceed);
      });
    } else {
      this.#start(frame, text, bytes, frame.agent_id, true);
    }
    return undefined;
  }

  async #decide(undecided: UndecidedMessage): Promise<void> {
    const { route, authorize } = this.#config;
    const { frame, text, bytes } = undecided;
    try {
      const agentId = frame.agent_id ?? (await route?.(frame, this.#session));
      if (typeof agentId !== 'string' || agentId === '') throw new AgentNotFoundError('No agent for this frame');
      const isAuthorized =
        authorize === undefined || (await authorize(this.#session.identity, agentId, frame)) === true;
      // It may have been cancelled meanwhile.
      if (this.#undecided !== undecided) return;
      this.#undecided = undefined;
      this.#start(frame, text, bytes, agentId, isAuthorized);
    } catch (error) {
      if (this.#undecided !== undecided) return;
      this.#undecided = undefined;
      this.#session.writeError(error, writeEcho(frame));
    }
  }

  #start(frame: MessageFrame, text: string, bytes: number, agentId: string, isAuthorized: boolean): void {
    try {
      this.#check(frame, bytes, agentId, isAuthorized);
    } catch (error) {
      // A function of the application that throws, and chats that take long to end, are not the client's fault.
      const isClientFault = error instanceof ArcError && !(error instanceof EndingBacklogError);
      if (isClientFault) this.#session.refuse(error, frame);
      else this.#session.writeError(error, writeEcho(frame));
      return;
    }
    this.#send(frame, text, bytes, agentId);
  }

  /** @throws ArcError if the message may not be sent */
  #check(frame: MessageFrame, bytes: number, agentId: string, isAuthorized: boolean): void {
    const { isAgentAllowed, maxPending, maxPendingBytes, maxThreads } = this.#config;
    if (!isAuthorized || (isAgentAllowed !== undefined && isAgentAllowed(agentId) !== true)) {
      throw new AuthorizationError(`Agent "${agentId}" is not allowed`);
    }
    const { threads } = this.#session;
    const { threadCount, endingCount } = threads;
    const pending = this.size;
    const needsRoom = threadCount + endingCount >= maxThreads && !threads.hasThread(agentId, frame.context_id);
    if (pending >= maxPending) throw new RateLimitExceededError(`More than ${maxPending} sends are pending`);
    if (this.bytes + this.#session.heldBytes + bytes > maxPendingBytes)
      throw new RateLimitExceededError(`More than ${maxPendingBytes} bytes are pending`);
    if (needsRoom && threadCount >= maxThreads)
      throw new RateLimitExceededError(`More than ${maxThreads} threads are open`);
    // Chats that are being ended cost requests, too: a client cannot start and cancel without limit.
    if (needsRoom || pending + endingCount >= maxPending)
      throw new EndingBacklogError('Too many chats are being ended');
  }

  #send(frame: MessageFrame, text: string, bytes: number, agentId: string): void {
    const request = new MessageRequest(this.#config, agentId, frame, text);
    const reply = new Reply(this.#session, this, request, frame, bytes);
    this.#session.acceptFrame();
    this.#bytes += bytes;
    if (this.#first === undefined) {
      this.#first = reply;
    } else {
      if (this.#others === NO_REPLIES) this.#others = new Set();
      this.#others.add(reply);
    }
    const { contextId, traceId } = request;
    this.#telemetry.sendStarted(this.#session, { id: frame.id, agentId, contextId, traceId });
    // The hook may have closed the session.
    if (this.#isDraining) return reply.onCancelled();
    reply.send = this.#session.threads.dispatch(request, this.#listenerOf(reply, request));
    request.dropParsed();
    if (this.isPaused) reply.send.pause();
  }

  #listenerOf(reply: Reply, request: MessageRequest): SendListener {
    if (!this.#telemetry.wantsTurns) return reply;
    return new Transcript(reply, request, this.#config.maxResponseBytes, (turn) => {
      this.#telemetry.turnEnded(this.#session, turn);
    });
  }

  /** Answers a message that was not started with `cancelled`. */
  reject(echo: FrameEcho): void {
    const { agent_id: agentId, context_id: contextId, trace_id: traceId } = echo;
    new Reply(this.#session, this, { agentId, contextId, traceId }, echo, 0).onCancelled();
  }

  /** Abandons the sends with this id. If none is pending, it was answered already. */
  cancel(id: string | number): void {
    if (this.#undecided?.frame.id === id) this.#cancelUndecided();
    for (const reply of this.#all()) if (reply.id === id) reply.send?.cancel();
  }

  #cancelUndecided(): void {
    const undecided = this.#undecided;
    this.#undecided = undefined;
    if (undecided === undefined) return;
    this.reject(undecided.frame);
    undecided.proceed();
  }

  onSettled(reply: Reply, state: SendState, error?: unknown): void {
    this.#remove(reply);
    if (this.#session.isAdmitted) {
      this.#telemetry.sendEnded(this.#session, state, () => reply.summarize(state, error));
    }
    if (this.#empty !== undefined) this.#noteEmpty();
  }

  #remove(reply: Reply): void {
    if (this.#first !== reply) {
      if (this.#others.delete(reply)) this.#bytes -= reply.bytes;
      return;
    }
    this.#bytes -= reply.bytes;
    const [next] = this.#others;
    this.#first = next;
    if (next !== undefined) this.#others.delete(next);
  }

  /** Stops reading the agents' answers until `resume`. */
  pause(): void {
    this.isPaused = true;
    for (const { send } of this.#all()) send?.pause();
  }

  resume(): void {
    this.isPaused = false;
    for (const { send } of this.#all()) send?.resume();
  }

  /** Starts nothing new. Resolves when nothing is pending. */
  drain(): Promise<void> {
    this.#cancelUndecided();
    this.#isDraining = true;
    return this.whenEmpty();
  }

  /** Resolves when nothing is pending. */
  async whenEmpty(): Promise<void> {
    if (this.size === 0) return;
    this.#empty ??= defer();
    await this.#empty.promise;
  }

  #noteEmpty(): void {
    if (this.size > 0) return;
    this.#empty?.resolve();
    this.#empty = undefined;
  }

  /** Cancels everything that is pending. */
  cancelAll(): void {
    this.#cancelUndecided();
    for (const { send } of this.#all()) send?.cancel();
  }

  /** Removes the messages that were never begun, without an answer, and returns their frames: they are sent elsewhere. */
  takeWaiting(): string[] {
    const taken = this.#session.threads.takeWaiting();
    for (const reply of this.#all()) if (reply.send !== undefined && taken.includes(reply.send)) this.#remove(reply);
    const texts = taken.map(({ request }) => (request as MessageRequest).text);
    const undecided = this.#undecided;
    this.#undecided = undefined;
    undecided?.proceed();
    this.#noteEmpty();
    return undecided === undefined ? texts : [...texts, undecided.text];
  }
}
