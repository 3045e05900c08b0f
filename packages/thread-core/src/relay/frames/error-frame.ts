import { type ArcErrorObject, ErrorCode } from '@arc/thread-protocol';
import { type Bytes, encode } from '../../bytes.js';
import type { Logger } from '../../logger.js';
import { ArcError, InternalError } from '../../protocol/errors.js';
import { hasLoneSurrogate } from '../../values.js';

/** Codes of the relay that say that an agent, or a proxy in front of it, does not work. */
const DOWN_CODES: ReadonlySet<number> = new Set([
  ErrorCode.AgentUnreachable,
  ErrorCode.AgentTimeout,
  ErrorCode.StreamTimeout,
]);

/** The relay's own codes that clients get; any other error is an internal one. */
const OWN_CODES: ReadonlySet<number> = new Set([
  ErrorCode.ParseError,
  ErrorCode.InvalidRequest,
  ErrorCode.AgentNotFound,
  ErrorCode.AgentNotAvailable,
  ErrorCode.AgentUnreachable,
  ErrorCode.AgentTimeout,
  ErrorCode.StreamTimeout,
  ErrorCode.AuthorizationFailed,
  ErrorCode.RateLimitExceeded,
  ErrorCode.UnsupportedVersion,
  ErrorCode.MessageTooLarge,
  ErrorCode.AgentBusy,
]);

/** No answer came, or not all of it, or the circuit breaker is open. */
function isAgentDown(error: unknown): boolean {
  return error instanceof ArcError && !error.fromAgent && DOWN_CODES.has(error.code);
}

/** The error that a client gets, and whether its details are only for the log. */
export interface Failure {
  data: ArcErrorObject;
  isInternal: boolean;
}

/** Agents' errors are passed on, without the details of an internal one. Of the relay's own, only `OWN_CODES` are. */
export function describeFailure(error: unknown): Failure {
  if (error instanceof ArcError && error.fromAgent) {
    const { code, reason: message, details } = error;
    const isInternal = code === InternalError.code;
    return { data: details === null || isInternal ? { code, message } : { code, message, details }, isInternal };
  }
  if (error instanceof ArcError && OWN_CODES.has(error.code)) {
    return { data: { code: error.code, message: error.reason }, isInternal: false };
  }
  return { data: { code: InternalError.code, message: 'Internal error' }, isInternal: true };
}

/**
 * Writes a failure's data. Details may be nested more deeply than can be written; they are left out then. Half of a
 * surrogate pair becomes U+FFFD: some clients can read it, but not print it.
 */
function writeFailure({ code, message, details }: ArcErrorObject): string {
  let text: string;
  try {
    text = JSON.stringify({ code, message, details });
  } catch {
    text = JSON.stringify({ code, message });
  }
  if (!hasLoneSurrogate(text)) return text;
  return text.replace(/\\(?:ud[89a-f][0-9a-f]{2}|.)/g, (found) => (found.length > 2 ? '\\ufffd' : found));
}

/** Logs a failure of a send, at a level that says whose it is. */
export function logFailure(error: unknown, { isInternal }: Failure, session: string, logger: Logger): void {
  const about = { session, err: error };
  if (isInternal) logger.error(about, 'a send failed');
  else if (isAgentDown(error)) logger.warn(about, 'an agent does not answer');
  else logger.debug(about, 'a frame or send failed');
}

/** The members of an error frame. `echo`: the fields that it repeats. */
export function writeErrorMembers({ data }: Failure, echo: Bytes): Bytes {
  return `"type":"error"${echo},"data":${encode(writeFailure(data))}}` as Bytes;
}
