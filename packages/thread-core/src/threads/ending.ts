import { setTimeout as delay } from 'node:timers/promises';
import type { ArcEnvelope, ChatEndResult } from '@arc/thread-protocol';
import { type Bytes, decode } from '../bytes.js';
import { Answer, type ArcResponse } from '../client/answer.js';
import type { CallListener, CallRequest } from '../client/call.js';
import { isClientClosed } from '../client/transport-error.js';
import {
  ArcError,
  AuthenticationError,
  InternalError,
  isLostChat,
  RateLimitExceededError,
} from '../protocol/errors.js';
import type { Send, StartOutcome } from './send.js';
import type { ThreadEntry } from './store.js';

/** How the end of a chat came out. A chat that the agent had already lost counts as ended. */
export interface ChatOutcome {
  agentId: string;
  contextId: string | undefined;
  chatId: string;
  ok: boolean;
  /**
   * True where its chat.start was cut off, and the agent did not have the chat for as long as it was asked: should the
   * agent make it later, it stays open.
   */
  unconfirmed?: boolean;
  /** How often chat.end was asked for and failed. */
  failures: number;
  /** Why it could not be ended. */
  error?: unknown;
  /** The agent's answer to chat.end, where it gave one. */
  response?: ArcResponse<ChatEndResult>;
  /** That answer's text, as it came. @internal */
  text?: string | undefined;
}

export interface EndChatOptions {
  contextId?: string | undefined;
  /** Goes into chat.end's `reason`. */
  reason?: string | undefined;
  traceId?: string | undefined;
}

/** A chat.start that runs on, unheard, until it is known whether there is a chat to end. */
export interface StartInFlight {
  send: Send;
  outcome: Promise<StartOutcome>;
}

type Attempt = Omit<ChatOutcome, 'agentId' | 'contextId' | 'chatId' | 'failures'>;

const FIRST_BACKOFF = 50;
const LONGEST_BACKOFF = 500;

/**
 * Ends a chat within so many milliseconds, whatever it takes: waits for its chat.start where that is still in flight
 * (`start`), repeats what failed, and looks again for a chat that the agent may not have had yet.
 */
export async function endChat(
  call: (request: CallRequest, listener: CallListener) => void,
  entry: ThreadEntry,
  options: EndChatOptions,
  timeout: number,
  start?: StartInFlight,
): Promise<ChatOutcome> {
  const until = performance.now() + timeout;
  let settled = entry.unsettled !== true;
  let attempt: Attempt | undefined;
  if (start !== undefined) {
    // Half of the time for the start to settle, the other half for finding its chat if it does not.
    const outcome = await within(start.outcome, timeout / 2);
    settled = outcome === 'started';
    start.send.abort();
    if (outcome === 'never started') attempt = { ok: true };
  }
  let wasLost = false;
  let failures = 0;
  for (let backoff = FIRST_BACKOFF; attempt === undefined; backoff = Math.min(backoff * 2, LONGEST_BACKOFF)) {
    const tried = await tryEnd(call, entry, options, until - performance.now());
    const isLost = isLostChat(tried.error);
    if (!tried.ok && !isLost) failures += 1;
    // An attempt that the bound cut short says nothing: what the agent said last counts.
    wasLost ||= isLost;
    const pause = backoff * (0.5 + Math.random() / 2);
    const again = isLost ? !settled : isTransient(tried.error);
    if (tried.ok || !again || performance.now() + pause >= until)
      attempt = !tried.ok && wasLost ? { ok: true, unconfirmed: !settled } : tried;
    else await delay(pause);
  }
  return { agentId: entry.agentId, contextId: entry.contextId, chatId: entry.chatId, failures, ...attempt };
}

async function tryEnd(
  call: (request: CallRequest, listener: CallListener) => void,
  { agentId, chatId }: ThreadEntry,
  { reason, traceId }: EndChatOptions,
  left: number,
): Promise<Attempt> {
  // An attempt that hangs leaves time for another one.
  const timeout = Math.max(left / 2, Math.min(left, 500), 1);
  const answer = new EndAnswer();
  // Whoever ends a chat repeats what failed: the client need not.
  call({ method: 'chat.end', targetAgent: agentId, traceId, timeout, retries: 0, params: { chatId, reason } }, answer);
  try {
    const response = (await answer.promise) as ArcResponse<ChatEndResult>;
    return { ok: true, response, text: answer.text };
  } catch (error) {
    return { ok: false, error };
  }
}

/** The answer of chat.end, and its text. */
class EndAnswer extends Answer {
  text: string | undefined;
  constructor() {
    super(false, undefined);
  }
  override onResponse(text: Bytes, envelope: ArcEnvelope | undefined): void {
    this.text = decode(text);
    super.onResponse(text, envelope);
  }
}

/** Whether trying again may help: the agent did not answer, or not about the chat. */
function isTransient(error: unknown): boolean {
  if (!(error instanceof ArcError)) return false;
  const { code, cause } = error;
  // Of this side's own errors, a token that could not be had may be had a moment later.
  if (error instanceof AuthenticationError && !error.fromAgent) return true;
  if (!error.fromAgent) return error.address !== undefined && !isClientClosed(cause);
  return code === InternalError.code || code === RateLimitExceededError.code || (code <= -41_002 && code >= -41_999);
}

/** A promise's value if it comes within so many milliseconds, else undefined. */
export async function within<T>(promise: Promise<T>, timeout: number): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, delay(timeout, undefined, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
