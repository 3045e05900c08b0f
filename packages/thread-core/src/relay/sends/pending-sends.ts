import type { MessageFrame } from '@arc/thread-protocol';
import { InvalidRequestError } from '../../protocol/errors.js';
import type { SendListener } from '../../threads/send-request.js';
import type { SendState, Session } from '../api.js';
import type { FrameEcho } from '../frames/frame-echo.js';
import type { Telemetry } from '../monitoring/telemetry.js';
import type { RelayConfig } from '../options.js';
import { checkMessage, type Decision, decide, isClientFault } from './message-check.js';
import { MessageRequest } from './message-request.js';
import { Reply, type ReplyOutput, type ReplyOwner } from './reply.js';
import { ReplySet } from './reply-set.js';
import { Transcript } from './transcript.js';

/** What pending sends need of their session. */
export interface SendingSession extends Session, ReplyOutput {
  /** Size of the frames that wait for their turn. */
  readonly heldBytes: number;
  /** The application knows of the session: it was admitted. */
  readonly isAdmitted: boolean;
  /** Answers a frame that the client should not have sent, and counts it. */
  rejectFrame(error: unknown, echo: FrameEcho, isClientFault?: boolean): void;
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

/** The messages of one session: each is checked, sent to its agent, and kept track of until it is answered. */
export class PendingSends extends ReplySet implements ReplyOwner {
  readonly #session: SendingSession;
  readonly #config: RelayConfig;
  readonly #telemetry: Telemetry;
  #undecided: UndecidedMessage | undefined;
  /** The application is being told of it: it is not sent yet. */
  #announced: Reply | undefined;
  isPaused = false;
  /** No new send may start. */
  #isDraining = false;

  constructor(session: SendingSession, config: RelayConfig, telemetry: Telemetry) {
    super();
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

  override get bytes(): number {
    return super.bytes + (this.#undecided?.bytes ?? 0);
  }

  /** The ids of all pending messages, with that which `route` or `authorize` decides about. */
  ids(): (string | number)[] {
    const ids = this.replies().map(({ id }) => id);
    return [...ids, this.#undecided?.frame.id].filter((id) => id !== undefined);
  }

  /**
   * Takes a message. Returns a promise if `route` or `authorize` has to decide first: no other message may be added
   * until it is fulfilled. It is never rejected, and does not wait for an answer that is no longer needed.
   */
  add(frame: MessageFrame, text: string, bytes: number): Promise<void> | undefined {
    const { route, authorize } = this.#config;
    if (this.#isDraining) {
      this.answerCancelled(frame);
    } else if (frame.agent_id === undefined && route === undefined) {
      this.#session.rejectFrame(new InvalidRequestError('agent_id: is missing'), frame);
    } else if (frame.agent_id === undefined || authorize !== undefined) {
      return new Promise((proceed) => {
        this.#undecided = { frame, text, bytes, proceed };
        void this.#decide(this.#undecided).then(proceed);
      });
    } else {
      this.#start(frame, text, bytes, { agentId: frame.agent_id, isAuthorized: true });
    }
    return undefined;
  }

  async #decide(undecided: UndecidedMessage): Promise<void> {
    const { frame, text, bytes } = undecided;
    try {
      const decision = await decide(this.#config, this.#session, frame);
      // It may have been cancelled meanwhile.
      if (this.#undecided !== undecided) return;
      this.#undecided = undefined;
      this.#start(frame, text, bytes, decision);
    } catch (error) {
      if (this.#undecided !== undecided) return;
      this.#undecided = undefined;
      this.#session.rejectFrame(error, frame, false);
    }
  }

  #start(frame: MessageFrame, text: string, bytes: number, decision: Decision): void {
    try {
      const load = { pending: this.size, bytes: this.bytes + this.#session.heldBytes + bytes };
      checkMessage(this.#config, this.#session, frame, decision, load);
    } catch (error) {
      this.#session.rejectFrame(error, frame, isClientFault(error));
      return;
    }
    this.#send(frame, text, bytes, decision.agentId);
  }

  #send(frame: MessageFrame, text: string, bytes: number, agentId: string): void {
    const request = new MessageRequest(this.#config, agentId, frame, text);
    const reply = new Reply(this.#session, this, request, frame, bytes);
    this.#session.acceptFrame();
    this.insert(reply);
    const { contextId, traceId } = request;
    this.#announced = reply;
    this.#telemetry.sendStarted(this.#session, { id: frame.id, agentId, contextId, traceId });
    // The hook may have closed the session: then it is answered, because that had to be before the close frame.
    if (this.#isDraining) return;
    this.#announced = undefined;
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

  /** Answers a message that was never started, with a `cancelled` frame. */
  answerCancelled(echo: FrameEcho): void {
    const { agent_id: agentId, context_id: contextId, trace_id: traceId } = echo;
    new Reply(this.#session, this, { agentId, contextId, traceId }, echo, 0).onCancelled();
  }

  /** Abandons the sends with this id. If none is pending, it was answered already. */
  cancel(id: string | number): void {
    if (this.#undecided?.frame.id === id) this.#cancelUndecided();
    for (const reply of this.replies()) if (reply.id === id) reply.send?.cancel();
  }

  #cancelUndecided(): void {
    const undecided = this.#undecided;
    this.#undecided = undefined;
    if (undecided === undefined) return;
    this.answerCancelled(undecided.frame);
    undecided.proceed();
  }

  onSettled(reply: Reply, state: SendState, error?: unknown): void {
    this.remove(reply);
    if (this.#session.isAdmitted) {
      this.#telemetry.sendEnded(this.#session, state, () => reply.summarize(state, error));
    }
    this.noteEmpty();
  }

  /** Stops reading the agents' answers until `unpause`. */
  pause(): void {
    this.isPaused = true;
    for (const { send } of this.replies()) send?.pause();
  }

  unpause(): void {
    this.isPaused = false;
    for (const { send } of this.replies()) send?.resume();
  }

  /** Starts nothing new. Resolves when nothing is pending. */
  drain(): Promise<void> {
    this.#cancelUndecided();
    this.#isDraining = true;
    const announced = this.#announced;
    this.#announced = undefined;
    announced?.onCancelled();
    return this.whenEmpty();
  }

  /** Cancels everything that is pending. */
  cancelAll(): void {
    this.#cancelUndecided();
    for (const { send } of this.replies()) send?.cancel();
  }

  /** Removes the messages that were never begun, without an answer, and returns their frames: they are sent elsewhere. */
  takeWaiting(): string[] {
    // Sends of the application itself have no frame, and nobody else could answer them.
    const own = new Set(this.replies().map(({ send }) => send));
    const taken = this.#session.threads.takeWaiting((send) => own.has(send));
    for (const reply of this.replies()) if (reply.send !== undefined && taken.includes(reply.send)) this.remove(reply);
    const texts = taken.map(({ request }) => (request as MessageRequest).text);
    const undecided = this.#undecided;
    this.#undecided = undefined;
    undecided?.proceed();
    this.noteEmpty();
    return undecided === undefined ? texts : [...texts, undecided.text];
  }
}
