import type { ArcEnvelope, ArcMessage } from '@arc/thread-protocol';
import type { Bytes } from '../bytes.js';
import type { Answerable } from '../client/answer.js';
import type { Call, CallListener } from '../client/call.js';
import type { StreamEvent } from '../client/event.js';
import { wasNeverSent } from '../client/transport-error.js';
import { ArcError, isLostChat, readAgentError, TransportError } from '../protocol/errors.js';
import type { Lane } from './lane.js';
import type { ThreadEntry } from './store.js';

/** A message for an agent. */
export interface SendRequest {
  agentId: string;
  message: ArcMessage;
  /** Names a conversation beside others with the same agent. */
  contextId?: string | undefined;
  traceId?: string | undefined;
  stream?: boolean | undefined;
  /** Goes into chat.start's `metadata`. */
  metadata?: Record<string, unknown> | undefined;
  /** Milliseconds to the first byte of a stream, or the end of any other answer; without it the client's `timeout`. */
  timeout?: number | undefined;
  /** Milliseconds between two chunks of a stream; without it the client's `streamIdleTimeout`. */
  streamIdleTimeout?: number | undefined;
  /** Milliseconds that a stream may take in all; without it the client's `streamTimeout`. */
  streamTimeout?: number | undefined;
}

/** Hears the answer of a send. Exactly one of response, `done`, `error`, a failure and a cancellation ends it. */
export interface SendListener extends CallListener {
  onCancelled(reason: unknown): void;
}

/** How a chat.start that nobody waits for any longer came out. */
export type StartOutcome = 'started' | 'never started' | 'unknown';

/** One message on its way to an agent, and its answer's way back. */
export class Send implements CallListener, Answerable {
  readonly request: SendRequest;
  /** The agent had lost the chat; what is answered is a new one. */
  restarted = false;
  readonly #listener: SendListener;
  readonly #lane: Lane;
  #entry: ThreadEntry | undefined;
  #call: Call | undefined;
  #phase: 'waiting' | 'starting' | 'messaging' | 'detached' | 'ended' = 'waiting';
  #delivered = false;
  /** The agent has told under which id it has the chat. */
  #named = false;
  /** The id that the agent gave the chat first, where it gave it another one within the same answer. */
  #formerChatId: string | undefined;
  #paused = false;
  #settled: ((outcome: StartOutcome) => void) | undefined;

  constructor(lane: Lane, request: SendRequest, listener: SendListener) {
    this.#lane = lane;
    this.request = request;
    this.#listener = listener;
  }

  get chatId(): string | undefined {
    return this.#entry?.chatId;
  }

  /** Nothing of it was sent yet. @internal */
  get isWaiting(): boolean {
    return this.#phase === 'waiting';
  }

  /** The thread whose chat.start it is, as long as that runs. @internal */
  get starting(): ThreadEntry | undefined {
    return this.#phase === 'starting' ? this.#entry : undefined;
  }

  /** The agent has told under which id it has the chat; before that nobody can say whether there is one. @internal */
  get isNamed(): boolean {
    return this.#named;
  }

  /** Whether the agent may have heard of it. @internal */
  get wasSent(): boolean {
    return this.#call?.wasSent === true;
  }

  /** @internal Sends the message: as chat.start, which makes the thread, or as chat.message. */
  run(entry: ThreadEntry, phase: 'starting' | 'messaging'): void {
    const { agentId: targetAgent, message, traceId, stream, metadata } = this.request;
    const { timeout, streamIdleTimeout, streamTimeout } = this.request;
    const { chatId } = entry;
    this.#entry = entry;
    this.#phase = phase;
    const [method, params] =
      phase === 'starting'
        ? (['chat.start', { initialMessage: message, chatId, metadata, stream }] as const)
        : (['chat.message', { chatId, message, stream }] as const);
    const { table } = this.#lane;
    this.#call = table.call({ method, targetAgent, traceId, timeout, streamIdleTimeout, streamTimeout, params }, this);
    if (this.#paused) this.#call.pause();
  }

  pause(): void {
    this.#paused = true;
    this.#call?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#call?.resume();
  }

  /** Abandons the send: the agent's connection is closed at once, and the listener hears `onCancelled`. */
  cancel(reason: unknown = new DOMException('The send was cancelled', 'AbortError')): void {
    if (this.#phase === 'ended' || this.#phase === 'detached') return;
    const entry = this.#entry;
    this.#call?.cancel();
    if (this.#phase === 'starting' && entry !== undefined) {
      if (!this.wasSent) {
        this.#lane.table.drop(entry);
      } else {
        this.#lane.table.update(entry, { unsettled: true });
        if (!this.#delivered) this.#lane.table.abandon(entry);
      }
    }
    this.#end();
    this.#listener.onCancelled(reason);
    // Later, because whoever waits for it may be cancelled next.
    queueMicrotask(() => this.#lane.pump());
  }

  /** Lets its chat.start go on unheard, until it is known whether there is a chat to end. @internal */
  detach(reason: unknown): Promise<StartOutcome> {
    const outcome = new Promise<StartOutcome>((resolve) => {
      this.#settled = resolve;
    });
    this.#end();
    this.#phase = 'detached';
    this.#listener.onCancelled(reason);
    this.#call?.resume();
    return outcome;
  }

  /** Gives up waiting for a detached chat.start. @internal */
  abort(): void {
    this.#call?.cancel();
  }

  /** The send fails before anything was sent. @internal */
  refuse(error: unknown): void {
    this.#end();
    queueMicrotask(() => {
      this.#listener.onError(error);
      this.#lane.pump();
    });
  }

  onResponse(text: Bytes, envelope: ArcEnvelope | undefined): void {
    this.#confirm(envelope && chatIdOfResult(envelope.result));
    if (this.#phase === 'detached') return this.#settled?.('started');
    this.#end();
    this.#listener.onResponse(text, envelope);
    this.#lane.pump();
  }

  onEvent(event: StreamEvent): void {
    const failed = event.event === 'error';
    if (failed && this.#failed(readAgentError(event.data, {}))) return;
    if (!failed) this.#confirm(event.chatId);
    const last = failed || event.event === 'done';
    if (this.#phase === 'detached') {
      // Without its id the chat cannot be ended; with it the rest of the answer is of no use.
      if (!last && !this.#named) return;
      this.#call?.cancel();
      return this.#settled?.(last ? 'started' : 'unknown');
    }
    this.#delivered = true;
    if (last) this.#end();
    this.#listener.onEvent(event);
    if (last) this.#lane.pump();
  }

  onError(error: unknown): void {
    if (this.#failed(error)) return;
    this.#end();
    this.#listener.onError(error);
    this.#lane.pump();
  }

  /** What a failure means for the thread. Returns true where the listener is to hear nothing of it. */
  #failed(error: unknown): boolean {
    const entry = this.#entry as ThreadEntry;
    const { table } = this.#lane;
    if (this.#phase === 'detached') {
      this.#settled?.(mayHaveStarted(error) ? (isAnswer(error) ? 'started' : 'unknown') : 'never started');
      return true;
    }
    if (this.#phase === 'starting') {
      table.update(entry, { unsettled: !isAnswer(error) });
      if (!this.#delivered) {
        if (mayHaveStarted(error)) table.abandon(entry);
        else table.drop(entry);
      }
    } else if (isLostChat(error)) {
      // A chat whose first answer broke off may only be late.
      if (entry.unsettled) table.abandon(entry);
      else table.drop(entry);
      if (!this.#delivered && !this.restarted) {
        this.restarted = true;
        this.#lane.restart(this);
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
    if (this.#phase === 'messaging') {
      if (entry.unsettled) this.#lane.table.update(entry, { unsettled: false });
      if (isOther) this.#lane.warnOfName(entry, chatId, 'the agent named another chat; the name is ignored');
    } else if (chatId !== undefined) {
      if (isOther) this.#rename(entry, chatId);
      if (!this.#named) this.#lane.started(this);
      this.#named = true;
    }
  }

  #rename(entry: ThreadEntry, chatId: string): void {
    if (this.#named) {
      this.#formerChatId ??= entry.chatId;
      this.#lane.warnOfName(entry, chatId, 'the agent named two chats in its first answer; both are ended');
    }
    this.#lane.table.update(entry, { chatId });
  }

  #end(): void {
    this.#phase = 'ended';
    this.#lane.leave(this);
    const { agentId, contextId, chatId } = this.#entry ?? {};
    const former = this.#formerChatId;
    this.#formerChatId = undefined;
    if (former !== undefined && former !== chatId && agentId !== undefined) {
      this.#lane.table.endChat({ agentId, contextId, chatId: former });
    }
  }
}

function chatIdOfResult(result: unknown): string | undefined {
  const { chat } = result as { chat?: { chatId?: unknown } | null };
  return typeof chat?.chatId === 'string' && chat.chatId !== '' ? chat.chatId : undefined;
}

/** Whether the agent itself has answered, so that nothing more will come of the request. */
function isAnswer(error: unknown): boolean {
  return error instanceof ArcError && error.fromAgent;
}

/** Errors with which an agent refuses a chat.start before it does anything. */
const REFUSALS = new Set([-32_700, -32_600, -32_601, -32_602, -41_001, -41_002, -41_004, -41_005]);

/** Whether there may be a chat at the agent although its chat.start failed. */
function mayHaveStarted(error: unknown): boolean {
  if (!(error instanceof ArcError)) return false;
  const { code, status = 0, fromAgent, cause } = error;
  // Of what an agent refuses, -44xxx is about the caller and -45xxx about the request.
  if (fromAgent) return !REFUSALS.has(code) && !(code <= -44_001 && code >= -45_999);
  return error instanceof TransportError && !wasNeverSent(cause) && !(status >= 300 && status < 500);
}
