import type { ArcMessage } from '@arc/thread-protocol';
import {
  AgentNotFoundError,
  ArcError,
  AuthorizationError,
  InvalidRequestError,
  RateLimitExceededError,
} from '../protocol/errors.js';
import type { MessageFrame } from './frames.js';
import type { RelayConfig } from './options.js';
import { Reply, writeEcho } from './reply.js';
import type { Session } from './session.js';

/** Stands in place of further replies before there are any. */
const NO_REPLIES: Set<Reply> = new Set();

/** It would be too much with the chats that are being ended. */
class TooMuchToEnd extends RateLimitExceededError {}

/** The messages of one connection: which agent each is for, whether it may go there, and which are not answered yet. */
export class Sends {
  readonly #session: Session;
  readonly #config: RelayConfig;
  /** Of what is being answered that which came first; mostly it is the only one. */
  #first: Reply | undefined;
  #others = NO_REPLIES;
  /** The message about which `route` or `authorize` is being asked, and what lets the next one go on. */
  #asked: { frame: MessageFrame; goOn: () => void } | undefined;
  #isPaused = false;
  /** Nothing new is begun; resolves when nothing is pending. */
  #drained: Promise<void> | undefined;
  #resolveDrained: (() => void) | undefined;

  constructor(session: Session, config: RelayConfig) {
    this.#session = session;
    this.#config = config;
  }

  /** Sends that run or wait. */
  get pending(): number {
    return this.#others.size + (this.#first === undefined ? 0 : 1);
  }

  #moveUp(): void {
    const [next] = this.#others;
    this.#first = next;
    this.#others.delete(next as Reply);
  }

  #all(): Reply[] {
    return this.#first === undefined ? [] : [this.#first, ...this.#others];
  }

  /** Those of them that wait for their turn. */
  get waiting(): number {
    let waiting = 0;
    for (const { send } of this.#all()) if (send?.isWaiting) waiting += 1;
    return waiting;
  }

  /**
   * Takes a message in. Where `route` or `authorize` has to be asked first, it gives a promise, which is never
   * rejected; until then no other may be taken in. It does not wait for an answer that is of no use any more.
   */
  add(frame: MessageFrame): Promise<void> | undefined {
    const { route, authorize } = this.#config;
    if (this.#drained !== undefined) {
      this.refuse(frame);
    } else if (frame.agent_id === undefined && route === undefined) {
      this.#session.refuse(new InvalidRequestError('agent_id: is missing'), frame);
    } else if (frame.agent_id === undefined || authorize !== undefined) {
      return new Promise((goOn) => {
        this.#asked = { frame, goOn };
        void this.#ask(frame).then(goOn);
      });
    } else {
      this.#try(frame, frame.agent_id, true);
    }
    return undefined;
  }

  async #ask(frame: MessageFrame): Promise<void> {
    const { route, authorize } = this.#config;
    try {
      const agentId = frame.agent_id ?? (await route?.(frame, this.#session));
      if (typeof agentId !== 'string' || agentId === '') throw new AgentNotFoundError('No agent for this frame');
      const isAuthorized =
        authorize === undefined || (await authorize(this.#session.identity, agentId, frame)) === true;
      // It may have been cancelled meanwhile.
      if (this.#asked?.frame === frame) this.#try(frame, agentId, isAuthorized);
    } catch (error) {
      if (this.#asked?.frame === frame) this.#session.writeError(error, writeEcho(frame));
    }
    if (this.#asked?.frame === frame) this.#asked = undefined;
  }

  #try(frame: MessageFrame, agentId: string, isAuthorized: boolean): void {
    try {
      this.#check(frame, agentId, isAuthorized);
    } catch (error) {
      // What is not the client's fault is not counted against it: a function of the application that throws, or chats
      // that take long to end.
      const isItsFault = error instanceof ArcError && !(error instanceof TooMuchToEnd);
      if (isItsFault) this.#session.refuse(error, frame);
      else this.#session.writeError(error, writeEcho(frame));
      return;
    }
    this.#send(frame, agentId);
  }

  /** @throws ArcError where it may not be sent */
  #check(frame: MessageFrame, agentId: string, isAuthorized: boolean): void {
    const { isAgentAllowed, maxPending, maxThreads } = this.#config;
    if (!isAuthorized || (isAgentAllowed !== undefined && isAgentAllowed(agentId) !== true)) {
      throw new AuthorizationError(`Agent "${agentId}" is not allowed`);
    }
    const { threads } = this.#session;
    const { threadCount, endingCount } = threads;
    const { pending } = this;
    const isFull = threadCount + endingCount >= maxThreads && !threads.hasThread(agentId, frame.context_id);
    if (pending >= maxPending) throw new RateLimitExceededError(`More than ${maxPending} sends are pending`);
    if (isFull && threadCount >= maxThreads)
      throw new RateLimitExceededError(`More than ${maxThreads} threads are open`);
    // A chat that is being ended costs requests, too: who starts and cancels on and on is held up by that.
    if (isFull || pending + endingCount >= maxPending) throw new TooMuchToEnd('Too many chats are being ended');
  }

  #send(frame: MessageFrame, agentId: string): void {
    const { stream, sendTimeout, streamIdleTimeout, streamTimeout } = this.#config;
    const reply = new Reply(this.#session, frame);
    this.#session.accepted();
    if (this.#first === undefined) {
      this.#first = reply;
    } else {
      if (this.#others === NO_REPLIES) this.#others = new Set();
      this.#others.add(reply);
    }
    reply.send = this.#session.threads.dispatch(
      {
        agentId,
        contextId: frame.context_id,
        message: frame.message as ArcMessage,
        traceId: frame.trace_id,
        stream: (frame.stream ?? stream) || undefined,
        metadata: frame.metadata as Record<string, unknown> | undefined,
        timeout: sendTimeout,
        streamIdleTimeout,
        streamTimeout,
      },
      reply,
    );
    if (this.#isPaused) reply.send.pause();
  }

  /** Answers a message that was not begun. */
  refuse(frame: MessageFrame): void {
    new Reply(this.#session, frame).onCancelled();
  }

  /** Abandons the sends of that id; one that is not pending has been answered. */
  cancel(id: string | number): void {
    if (this.#asked?.frame.id === id) this.#drop();
    for (const reply of this.#all()) if (reply.frame.id === id) reply.send?.cancel();
  }

  /** Answers the message that is being asked about, and does not wait for what comes of it. */
  #drop(): void {
    const asked = this.#asked;
    this.#asked = undefined;
    if (asked === undefined) return;
    this.refuse(asked.frame);
    asked.goOn();
  }

  /** A send has its last frame. */
  ended(reply: Reply): void {
    if (this.#first !== reply) this.#others.delete(reply);
    else if (this.#others.size === 0) this.#first = undefined;
    else this.#moveUp();
    if (this.#resolveDrained !== undefined && this.pending === 0) this.#resolveDrained();
  }

  /** Reads no more of what the agents answer, until `resume`. */
  pause(): void {
    this.#isPaused = true;
    for (const reply of this.#all()) reply.send?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    for (const reply of this.#all()) reply.send?.resume();
  }

  /** Begins nothing new, and lets what is pending finish. */
  drain(): Promise<void> {
    this.#drop();
    this.#drained ??= new Promise((resolve) => {
      if (this.pending === 0) resolve();
      else this.#resolveDrained = resolve;
    });
    return this.#drained;
  }
}
