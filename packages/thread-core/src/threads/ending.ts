import { setTimeout as delay } from 'node:timers/promises';
import type { ArcEnvelope, ChatEndResult } from '@arc/thread-protocol';
import { type Bytes, decode } from '../bytes.js';
import { Answer } from '../client/answer.js';
import type { CallListener, CallRequest } from '../client/call.js';
import type { ArcResponse } from '../client/response.js';
import { jittered } from '../client/retry.js';
import { isClientClosed } from '../client/transport-error.js';
import { ArcError, AuthenticationError, InternalError, RateLimitExceededError } from '../protocol/errors.js';
import { withTimeout } from '../timers.js';
import { isLostChat, isMissingMethod } from './chat-errors.js';
import type { ThreadEntry } from './store.js';

/** The result of ending a chat. A chat that the agent had already lost counts as ended. */
export interface ChatOutcome {
  agentId: string;
  contextId: string | undefined;
  chatId: string;
  ok: boolean;
  /**
   * True if the chat.start was cut off, and the agent did not have the chat before the time was over. If the agent
   * creates the chat later, it stays open.
   */
  unconfirmed?: boolean;
  /** True if the agent has no chat.end. */
  unsupported?: boolean;
  /** How many chat.end requests failed. */
  failures: number;
  /** Why the chat could not be ended. */
  error?: unknown;
  /** The agent's answer to chat.end, if it gave one. */
  response?: ArcResponse<ChatEndResult>;
  /** The text of that answer, as it came. @internal */
  text?: string | undefined;
}

/** Which chat to end, and what is sent to the agent. */
export interface EndChatOptions {
  /** Names a conversation beside others with the same agent. Default: the one without a context. */
  contextId?: string | undefined;
  /** Sent as `reason` of chat.end. */
  reason?: string | undefined;
  /** ARC's `traceId`. Default: none. */
  traceId?: string | undefined;
}

/** The outcome of a chat.start whose sender does not wait for it any more. */
export type StartOutcome = 'started' | 'never started' | 'unknown';

/** A chat.start that runs on without a listener, until it is known whether there is a chat to end. */
export interface StartInFlight {
  outcome: Promise<StartOutcome>;
  abort(): void;
}

type Attempt = Omit<ChatOutcome, 'agentId' | 'contextId' | 'chatId' | 'failures'>;

const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 500;

/** The least time for an attempt, if that much is left. */
const MIN_ATTEMPT_MS = 500;

/**
 * Ends a chat within `timeout` milliseconds (a quarter of a second more, if the agent answers late, with a stream). Waits for its chat.start first, if that is still in flight (`start`),
 * repeats what failed, and looks again for a chat that the agent may not have made yet. Never rejects.
 */
export async function endChat(
  call: (request: CallRequest, listener: CallListener) => void,
  entry: ThreadEntry,
  options: EndChatOptions,
  timeout: number,
  start?: StartInFlight,
): Promise<ChatOutcome> {
  const deadline = performance.now() + timeout;
  let isSettled = entry.unsettled !== true;
  let result: Attempt | undefined = entry.stateless ? { ok: true } : undefined;
  if (start !== undefined) {
    // Half of the time for the start to settle, the other half to look for its chat if it does not.
    const outcome = await withTimeout(start.outcome, timeout / 2);
    isSettled = outcome === 'started';
    start.abort();
    if (outcome === 'never started') result = { ok: true };
  }
  let wasLost = false;
  let failures = 0;
  for (let backoff = MIN_BACKOFF_MS; result === undefined; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
    const attempt = await attemptEnd(call, entry, options, deadline - performance.now());
    const isLost = isLostChat(attempt.error, entry.chatId);
    if (isMissingMethod(attempt.error)) {
      result = { ok: true, unsupported: true };
      break;
    }
    if (!attempt.ok && !isLost) failures += 1;
    // An attempt that the deadline cut short says nothing: the agent's last answer counts.
    wasLost ||= isLost;
    const pause = jittered(backoff);
    const isWorthRepeating = isLost ? !isSettled : isTransient(attempt.error);
    if (attempt.ok || !isWorthRepeating || performance.now() + pause >= deadline)
      result = !attempt.ok && wasLost ? { ok: true, unconfirmed: !isSettled } : attempt;
    else await delay(pause);
  }
  return { agentId: entry.agentId, contextId: entry.contextId, chatId: entry.chatId, failures, ...result };
}

async function attemptEnd(
  call: (request: CallRequest, listener: CallListener) => void,
  entry: ThreadEntry,
  { reason, traceId }: EndChatOptions,
  remaining: number,
): Promise<Attempt> {
  // An attempt that hangs leaves time for another one.
  const timeout = Math.max(remaining / 2, Math.min(remaining, MIN_ATTEMPT_MS), 1);
  // An agent may answer with a stream, whose time begins with its first byte.
  const streamTimeout = Math.max(remaining / 2, 1);
  const limits = { timeout, streamIdleTimeout: streamTimeout, streamTimeout, retries: 0 };
  const answer = new EndAnswer();
  // No retries of the client: the caller repeats what failed.
  const { agentId: targetAgent, chatId } = entry;
  call({ method: 'chat.end', targetAgent, traceId, ...limits, params: { chatId, reason }, chat: entry }, answer);
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
  override onResponse(text: Bytes, envelope: ArcEnvelope): void {
    this.text = decode(text);
    super.onResponse(text, envelope);
  }
}

/** Whether a repetition may help: the agent did not answer, or its answer is not about the chat. */
function isTransient(error: unknown): boolean {
  // Thrown by a function of the application, such as `endpoint`.
  if (!(error instanceof ArcError)) return true;
  const { code, cause } = error;
  // Of the errors of this side: a token may be available a moment later.
  if (error instanceof AuthenticationError && !error.fromAgent) return true;
  if (!error.fromAgent) return error.address !== undefined && !isClientClosed(cause);
  return code === InternalError.code || code === RateLimitExceededError.code || (code <= -41_002 && code >= -41_999);
}
