import { ErrorCode } from '@arc/thread-protocol';
import {
  ArcError,
  AuthenticationError,
  ChatAlreadyClosedError,
  ChatNotFoundError,
  ChatTimeoutError,
  InternalError,
  InvalidParamsError,
  InvalidRequestError,
  MethodNotFoundError,
  TaskTimeoutError,
} from '../protocol/errors.js';

/** Codes that mean a lost chat, whatever the text says. -42005 is "chat not found" in older documents. */
const LOST_CODES = new Set<number>([
  ChatNotFoundError.code,
  ChatAlreadyClosedError.code,
  ChatTimeoutError.code,
  TaskTimeoutError.code,
]);

/** Codes that the example servers of the Python SDK, among others, use for a lost chat and for much else. */
const VAGUE_CODES = new Set<number>([InvalidRequestError.code, InvalidParamsError.code, InternalError.code]);

/** Characters of an error in which that is looked for: an agent may write megabytes, and no other session is served meanwhile. */
const MAX_TEXT = 8192;

const LOST_TEXT = /\b(?:not found|closed|expired)\b/i;

/** Codes that an agent gives before it runs anything; so are those from -44000 to -44999, which are about the caller. */
const NOTHING_RAN: ReadonlySet<number> = new Set([
  ErrorCode.ParseError,
  ErrorCode.MethodNotFound,
  ErrorCode.AgentNotFound,
  ErrorCode.InvalidAgentId,
  ErrorCode.AgentAuthenticationFailed,
  ErrorCode.UnsupportedVersion,
  ErrorCode.MissingRequiredField,
  ErrorCode.InvalidFieldFormat,
]);

/** Whether the agent itself has answered, so that nothing more will come of the request. */
export function isAgentError(error: unknown): boolean {
  return error instanceof ArcError && error.fromAgent;
}

/** Whether the agent does not have the method that it was asked for. */
export function isMissingMethod(error: unknown): boolean {
  return error instanceof MethodNotFoundError && error.fromAgent;
}

/** Whether a chat.start that was sent, and failed like this, may have left a chat at the agent. */
export function mayLeaveChat(error: unknown): boolean {
  if (!(error instanceof ArcError)) return true;
  const { code, status = 0, fromAgent } = error;
  if (fromAgent) return !NOTHING_RAN.has(code) && !(code <= -44_000 && code >= -44_999);
  // There was no new token for one that the agent rejected; or a proxy answered in the agent's place.
  return !(error instanceof AuthenticationError) && !(status >= 300 && status < 500);
}

/**
 * Whether an agent's answer to chat.message or chat.end says that it does not have the chat, or has it no longer. An
 * error with a vague code does if its text says so and names the chat: nothing less, because a mistake would cost the
 * user the context of the chat.
 */
export function isLostChat(error: unknown, chatId?: string): boolean {
  if (!(error instanceof ArcError) || !error.fromAgent) return false;
  const { code, reason } = error;
  if (LOST_CODES.has(code)) return true;
  if (chatId === undefined || !VAGUE_CODES.has(code)) return false;
  const text = reason.slice(0, MAX_TEXT);
  return LOST_TEXT.test(text) && names(text, chatId);
}

/** Whether the id stands in the text as a word of its own, and not as a part of a longer id. */
function names(text: string, id: string): boolean {
  for (let at = text.indexOf(id); at !== -1; at = text.indexOf(id, at + 1)) {
    const isPart = isIdCharacter(text[at - 1]) || isIdCharacter(text[at + id.length]);
    if (!isPart) return true;
  }
  return false;
}

function isIdCharacter(character: string | undefined): boolean {
  return character !== undefined && /[\w-]/.test(character);
}
