import { type ArcEnvelope, chatIdOf } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import type { Call, CallListener } from '../client/call.js';
import { usableChatId } from '../client/chat-id.js';
import type { ChatCookies } from '../client/cookies.js';
import type { StreamEvent } from '../client/event.js';
import type { Answerable } from '../client/response.js';
import { readAgentError } from '../protocol/errors.js';
import { isAgentError, isLostChat, isMissingMethod, mayLeaveChat } from './chat-errors.js';
import type { StartOutcome } from './ending.js';
import type { SendQueue } from './send-queue.js';
import { callRequestOf, dropContent, type SendListener, type SendRequest } from './send-request.js';
import type { SendTrace } from './send-trace.js';
import type { ThreadEntry } from './store.js';
import type { ThreadActions } from './thread-actions.js';

export type { SendListener, SendRequest } from './send-request.js';

/**
 * How a message is sent: as the chat.start that makes its thread (`starting`), as chat.message (`messaging`), or as
 * chat.start because the agent keeps no chats (`stateless`).
 */
export type SendPhase = 'starting' | 'messaging' | 'stateless';

/** One message to an agent, and its answer. */
export class Send implements CallListener, Answerable {
  readonly request: SendRequest;
  /** Whether the agent had lost the chat, so that the answer belongs to a new one. */
  restarted = false;
  readonly #listener: SendListener;
  readonly #trace: SendTrace | undefined;
  readonly #queue: SendQueue<Send>;
  readonly #threads: ThreadActions;
  #entry: ThreadEntry | undefined;
  #call: Call | undefined;
  #phase: 'waiting' | SendPhase | 'detached' | 'finished' = 'waiting';
  #delivered = false;
  /** Whether the agent has said which id its chat has. */
  #isNamed = false;
  /** The first id of the chat, if the agent gave it another one later in the same answer. */
  #formerChatId: string | undefined;
  #paused = false;
  /** What it is about to fail with. */
  #refusal: unknown;
  #settleStart: ((outcome: StartOutcome) => void) | undefined;

  /** `trace`: also the listener, if the send is traced. */
  constructor(
    queue: SendQueue<Send>,
    threads: ThreadActions,
    request: SendRequest,
    listener: SendListener,
    trace?: SendTrace,
  ) {
    this.#queue = queue;
    this.#trace = trace;
    this.#threads = threads;
    this.request = request;
    this.#listener = listener;
  }

  get chatId(): string | undefined {
    return this.#entry?.chatId;
  }

  /** What the tracing channel `arc.send` publishes. @internal */
  get trace(): object | undefined {
    return this.#trace?.context;
  }

  /** The cookies of its chat: kept with the thread. @internal */
  get cookies(): ChatCookies | undefined {
    return this.#entry?.cookies;
  }

  set cookies(cookies: ChatCookies | undefined) {
    if (this.#entry !== undefined) this.#threads.updateThread(this.#entry, { cookies });
  }

  /** Whether nothing of it was sent yet. @internal */
  get isWaiting(): boolean {
    return this.#phase === 'waiting';
  }

  /** The thread that its chat.start makes, while that runs. @internal */
  get starting(): ThreadEntry | undefined {
    return this.#phase === 'starting' ? this.#entry : undefined;
  }

  /** Whether the agent has named its chat. Before that it is not known whether there is a chat. @internal */
  get isNamed(): boolean {
    return this.#isNamed;
  }

  /** Whether the agent may have received any of it. @internal */
  get wasSent(): boolean {
    return this.#call?.wasSent === true;
  }

  /** Sends the message. `hasWaited`: other sends of its thread ran before. @internal */
  run(entry: ThreadEntry, phase: SendPhase, hasWaited = false): void {
    this.#entry = entry;
    this.#phase = phase;
    // The call of a lost chat says nothing about the new chat.
    this.#call = undefined;
    let prepared: Promise<void> | undefined;
    if (phase === 'starting') prepared = this.#threads.beforeStart(entry);
    else if (hasWaited) prepared = this.#threads.beforeWaiting();
    // It may have been cancelled meanwhile, by a hook for one.
    const ifStillWanted = (act: () => void): void => {
      if (this.#phase === phase && this.#entry === entry) act();
    };
    if (prepared === undefined) return ifStillWanted(() => this.#request(entry, phase));
    prepared.then(
      () => ifStillWanted(() => this.#request(entry, phase)),
      (error: unknown) => ifStillWanted(() => this.onError(error)),
    );
  }

  #request(entry: ThreadEntry, phase: SendPhase): void {
    const request = callRequestOf(this.request, entry.chatId, phase === 'messaging', this);
    this.#call = this.#threads.prepareCall(request, this);
    this.#call.start();
    // The request is written. Parsed JSON takes up to twenty times the memory of its text, so do not keep it.
    dropContent(request.params);
    if (this.#paused) this.#call.pause();
  }

  /** Stops reading the answer until `resume`. */
  pause(): void {
    this.#paused = true;
    this.#call?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#call?.resume();
  }

  /** Cancels the send: the connection to the agent is closed at once, and the listener gets `onCancelled`. */
  cancel(reason: unknown = new DOMException('The send was cancelled', 'AbortError')): void {
    if (this.#phase === 'finished' || this.#phase === 'detached') return;
    if (this.#refusal !== undefined) return this.onError(this.#refusal);
    const entry = this.#entry;
    this.#call?.cancel();
    if (this.#phase === 'starting' && entry !== undefined) {
      if (!this.wasSent) this.#threads.removeThread(entry);
      else {
        this.#threads.updateThread(entry, { unsettled: true, unnamed: !this.#isNamed });
        if (!this.#delivered) this.#threads.abandonThread(entry);
      }
    }
    this.#finish();
    this.#listener.onCancelled(reason);
    // Not in this turn: a send that waits for this one may be the next to be cancelled.
    queueMicrotask(() => this.#queue.runNext());
  }

  /** Cancels the send for its listener, and lets its chat.start run until it is known whether there is a chat. @internal */
  detach(reason: unknown): Promise<StartOutcome> {
    const outcome = new Promise<StartOutcome>((resolve) => {
      this.#settleStart = resolve;
    });
    this.#finish();
    this.#phase = 'detached';
    this.#listener.onCancelled(reason);
    this.#call?.resume();
    return outcome;
  }

  /** Stops waiting for a detached chat.start. @internal */
  abort(): void {
    this.#call?.cancel();
  }

  /** Removes a send that waits, without calling its listener: another manager sends it. @internal */
  discard(): void {
    this.#finish();
    this.#trace?.discarded();
  }

  /** Fails the send, of which nothing was sent, at the end of this turn: or sooner, if it is to be cancelled. @internal */
  fail(error: unknown): void {
    this.#refusal = error;
    queueMicrotask(() => this.cancel());
  }

  onResponse(text: Bytes, envelope: ArcEnvelope): void {
    this.#confirm(usableChatId(chatIdOf(envelope.result)));
    if (this.#phase === 'detached') return this.#settleStart?.('started');
    this.#noteUnnamed();
    this.#finish();
    this.#listener.onResponse(text, envelope);
    this.#queue.runNext();
  }

  onEvent(event: StreamEvent): void {
    const isError = event.event === 'error';
    if (isError && this.#handleFailure(readAgentError(event.data, {}))) return;
    if (!isError) this.#confirm(event.chatId);
    const isLast = isError || event.event === 'done';
    if (this.#phase === 'detached') {
      // Without its id the chat cannot be ended. Once it is known, the rest of the answer is not needed.
      if (!isLast && !this.#isNamed) return;
      this.#call?.cancel();
      return this.#settleStart?.(isLast ? 'started' : 'unknown');
    }
    this.#delivered = true;
    if (event.event === 'done') this.#noteUnnamed();
    if (isLast) this.#finish();
    this.#listener.onEvent(event);
    if (isLast) this.#queue.runNext();
  }

  onError(error: unknown): void {
    if (this.#handleFailure(error)) return;
    this.#finish();
    this.#listener.onError(error);
    this.#queue.runNext();
  }

  /** Updates the thread after a failure of this send. Returns true if the listener must not be called. */
  #handleFailure(error: unknown): boolean {
    const entry = this.#entry as ThreadEntry;
    if (this.#phase === 'detached') {
      const mayHaveStarted = this.wasSent && mayLeaveChat(error);
      this.#settleStart?.(mayHaveStarted ? (isAgentError(error) ? 'started' : 'unknown') : 'never started');
      return true;
    }
    if (this.#phase === 'starting') {
      this.#threads.updateThread(entry, { unsettled: !isAgentError(error), unnamed: !this.#isNamed });
      if (!this.#delivered) {
        if (this.wasSent && mayLeaveChat(error)) this.#threads.abandonThread(entry);
        else this.#threads.removeThread(entry);
      }
    } else if (this.#phase === 'messaging' && (entry.unnamed || entry.stateless) && isMissingMethod(error)) {
      // The agent has never named a chat, and has no method to continue one: it is stateless. Another send of the thread,
      // which ran beside this one, may have found that out already.
      this.#threads.updateThread(entry, { unnamed: false, stateless: true });
      this.run(entry, 'stateless');
      return true;
    } else if (this.#phase === 'messaging' && isLostChat(error, entry.chatId)) {
      // A chat whose first answer broke off may appear at the agent later.
      if (entry.unsettled) this.#threads.abandonThread(entry);
      else this.#threads.removeThread(entry);
      if (!this.#delivered && !this.restarted) {
        this.restarted = true;
        this.#queue.restart(this);
        return true;
      }
    }
    return false;
  }

  /**
   * The agent has the chat. Only its first answer may say under which id: later ones can repeat what somebody else
   * wrote.
   */
  #confirm(chatId: string | undefined): void {
    const entry = this.#entry as ThreadEntry;
    const isOther = chatId !== undefined && chatId !== entry.chatId;
    if (this.#phase === 'stateless') {
      if (chatId !== undefined && entry.stateless) this.#threads.updateThread(entry, { chatId, stateless: false });
      return;
    }
    if (this.#phase === 'messaging') {
      if (entry.unsettled) this.#threads.updateThread(entry, { unsettled: false });
      if (isOther) this.#queue.warnOfChatId(entry, chatId, 'the agent named another chat; the id is ignored');
    } else if (chatId !== undefined) {
      if (isOther) this.#rename(entry, chatId);
      if (!this.#isNamed) this.#queue.onStarted(this);
      this.#isNamed = true;
    }
  }

  /** The first answer is complete, and named no chat. */
  #noteUnnamed(): void {
    const entry = this.starting;
    if (entry !== undefined && !this.#isNamed) this.#threads.updateThread(entry, { unnamed: true });
  }

  #rename(entry: ThreadEntry, chatId: string): void {
    if (this.#isNamed) {
      this.#formerChatId ??= entry.chatId;
      this.#queue.warnOfChatId(entry, chatId, 'the agent named two chats in its first answer; both are ended');
    }
    this.#threads.updateThread(entry, { chatId });
  }

  #finish(): void {
    this.#phase = 'finished';
    this.#queue.remove(this);
    const { agentId, contextId, chatId } = this.#entry ?? {};
    const former = this.#formerChatId;
    this.#formerChatId = undefined;
    if (former !== undefined && former !== chatId && agentId !== undefined) {
      this.#threads.endChat({ agentId, contextId, chatId: former });
    }
  }
}
