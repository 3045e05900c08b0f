import { ErrorCode } from '@arc/thread-protocol';
import { isObject } from '../values.js';
import { ArcError, type ArcErrorOptions, CodedError, TransportError } from './arc-error.js';

export { ArcError, type ArcErrorOptions, TransportError };

export class ParseError extends CodedError {
  static override readonly code = ErrorCode.ParseError;
  declare readonly code: typeof ErrorCode.ParseError;
}
export class InvalidRequestError extends CodedError {
  static override readonly code = ErrorCode.InvalidRequest;
  declare readonly code: typeof ErrorCode.InvalidRequest;
}
export class MethodNotFoundError extends CodedError {
  static override readonly code = ErrorCode.MethodNotFound;
  declare readonly code: typeof ErrorCode.MethodNotFound;
}
export class InvalidParamsError extends CodedError {
  static override readonly code = ErrorCode.InvalidParams;
  declare readonly code: typeof ErrorCode.InvalidParams;
}
export class InternalError extends CodedError {
  static override readonly code = ErrorCode.InternalError;
  declare readonly code: typeof ErrorCode.InternalError;
}
export class AgentNotFoundError extends CodedError {
  static override readonly code = ErrorCode.AgentNotFound;
  declare readonly code: typeof ErrorCode.AgentNotFound;
}
export class AgentNotAvailableError extends CodedError {
  static override readonly code = ErrorCode.AgentNotAvailable;
  declare readonly code: typeof ErrorCode.AgentNotAvailable;
}
/** No ARC answer: refused, reset, cut, or an answer that is not ARC. The message says which address, and what happened. */
export class AgentUnreachableError extends TransportError {
  static override readonly code = ErrorCode.AgentUnreachable;
  declare readonly code: typeof ErrorCode.AgentUnreachable;
}
export class InvalidAgentIdError extends CodedError {
  static override readonly code = ErrorCode.InvalidAgentId;
  declare readonly code: typeof ErrorCode.InvalidAgentId;
}
export class AgentAuthenticationError extends CodedError {
  static override readonly code = ErrorCode.AgentAuthenticationFailed;
  declare readonly code: typeof ErrorCode.AgentAuthenticationFailed;
}
/** No answer came within the timeout. */
export class AgentTimeoutError extends TransportError {
  static override readonly code = ErrorCode.AgentTimeout;
  declare readonly code: typeof ErrorCode.AgentTimeout;
}
export class TaskNotFoundError extends CodedError {
  static override readonly code = ErrorCode.TaskNotFound;
  declare readonly code: typeof ErrorCode.TaskNotFound;
}
export class TaskAlreadyCompletedError extends CodedError {
  static override readonly code = ErrorCode.TaskAlreadyCompleted;
  declare readonly code: typeof ErrorCode.TaskAlreadyCompleted;
}
export class TaskAlreadyCancelledError extends CodedError {
  static override readonly code = ErrorCode.TaskAlreadyCancelled;
  declare readonly code: typeof ErrorCode.TaskAlreadyCancelled;
}
export class TaskExecutionError extends CodedError {
  static override readonly code = ErrorCode.TaskExecutionFailed;
  declare readonly code: typeof ErrorCode.TaskExecutionFailed;
}
/** As an answer to a `chat.*` method some servers mean "chat not found" by it. */
export class TaskTimeoutError extends CodedError {
  static override readonly code = ErrorCode.TaskTimeout;
  declare readonly code: typeof ErrorCode.TaskTimeout;
}
export class InvalidStatusTransitionError extends CodedError {
  static override readonly code = ErrorCode.InvalidStatusTransition;
  declare readonly code: typeof ErrorCode.InvalidStatusTransition;
}
export class ChatNotFoundError extends CodedError {
  static override readonly code = ErrorCode.ChatNotFound;
  declare readonly code: typeof ErrorCode.ChatNotFound;
}
export class ChatAlreadyClosedError extends CodedError {
  static override readonly code = ErrorCode.ChatAlreadyClosed;
  declare readonly code: typeof ErrorCode.ChatAlreadyClosed;
}
export class ChatTimeoutError extends CodedError {
  static override readonly code = ErrorCode.ChatTimeout;
  declare readonly code: typeof ErrorCode.ChatTimeout;
}
export class ParticipantLimitError extends CodedError {
  static override readonly code = ErrorCode.ParticipantLimit;
  declare readonly code: typeof ErrorCode.ParticipantLimit;
}
export class InvalidChatMessageError extends CodedError {
  static override readonly code = ErrorCode.InvalidChatMessage;
  declare readonly code: typeof ErrorCode.InvalidChatMessage;
}
export class ChatBufferOverflowError extends CodedError {
  static override readonly code = ErrorCode.ChatBufferOverflow;
  declare readonly code: typeof ErrorCode.ChatBufferOverflow;
}
export class StreamNotFoundError extends CodedError {
  static override readonly code = ErrorCode.StreamNotFound;
  declare readonly code: typeof ErrorCode.StreamNotFound;
}
export class StreamAlreadyClosedError extends CodedError {
  static override readonly code = ErrorCode.StreamAlreadyClosed;
  declare readonly code: typeof ErrorCode.StreamAlreadyClosed;
}
export class InvalidStreamMessageError extends CodedError {
  static override readonly code = ErrorCode.InvalidStreamMessage;
  declare readonly code: typeof ErrorCode.InvalidStreamMessage;
}
export class StreamTimeoutError extends TransportError {
  static override readonly code = ErrorCode.StreamTimeout;
  declare readonly code: typeof ErrorCode.StreamTimeout;
}
export class AuthenticationError extends CodedError {
  static override readonly code = ErrorCode.AuthenticationFailed;
  declare readonly code: typeof ErrorCode.AuthenticationFailed;
}
export class AuthorizationError extends CodedError {
  static override readonly code = ErrorCode.AuthorizationFailed;
  declare readonly code: typeof ErrorCode.AuthorizationFailed;
}
export class InsufficientScopeError extends CodedError {
  static override readonly code = ErrorCode.InsufficientScope;
  declare readonly code: typeof ErrorCode.InsufficientScope;
}
export class TokenExpiredError extends CodedError {
  static override readonly code = ErrorCode.TokenExpired;
  declare readonly code: typeof ErrorCode.TokenExpired;
}
export class TokenInvalidError extends CodedError {
  static override readonly code = ErrorCode.TokenInvalid;
  declare readonly code: typeof ErrorCode.TokenInvalid;
}
export class PermissionDeniedError extends CodedError {
  static override readonly code = ErrorCode.PermissionDenied;
  declare readonly code: typeof ErrorCode.PermissionDenied;
}
export class RateLimitExceededError extends CodedError {
  static override readonly code = ErrorCode.RateLimitExceeded;
  declare readonly code: typeof ErrorCode.RateLimitExceeded;
}
export class UnsupportedVersionError extends CodedError {
  static override readonly code = ErrorCode.UnsupportedVersion;
  declare readonly code: typeof ErrorCode.UnsupportedVersion;
}
export class MissingRequiredFieldError extends CodedError {
  static override readonly code = ErrorCode.MissingRequiredField;
  declare readonly code: typeof ErrorCode.MissingRequiredField;
}
export class InvalidFieldFormatError extends CodedError {
  static override readonly code = ErrorCode.InvalidFieldFormat;
  declare readonly code: typeof ErrorCode.InvalidFieldFormat;
}
export class MessageTooLargeError extends TransportError {
  static override readonly code = ErrorCode.MessageTooLarge;
  declare readonly code: typeof ErrorCode.MessageTooLarge;
}
export class InvalidTraceError extends CodedError {
  static override readonly code = ErrorCode.InvalidTrace;
  declare readonly code: typeof ErrorCode.InvalidTrace;
}
/** A stream that had begun stalled, or was cut. */
export class StreamInterruptedError extends StreamTimeoutError {}
/** Only from the relay: a send came while another one ran, and `busy` is `'reject'`. */
export class AgentBusyError extends CodedError {
  static override readonly code = ErrorCode.AgentBusy;
  declare readonly code: typeof ErrorCode.AgentBusy;
}

type ErrorClass = { readonly code: number; new (reason: string, options?: ArcErrorOptions): ArcError };

const CLASSES: readonly ErrorClass[] = [
  ParseError,
  InvalidRequestError,
  MethodNotFoundError,
  InvalidParamsError,
  InternalError,
  AgentNotFoundError,
  AgentNotAvailableError,
  AgentUnreachableError,
  InvalidAgentIdError,
  AgentAuthenticationError,
  AgentTimeoutError,
  TaskNotFoundError,
  TaskAlreadyCompletedError,
  TaskAlreadyCancelledError,
  TaskExecutionError,
  TaskTimeoutError,
  InvalidStatusTransitionError,
  ChatNotFoundError,
  ChatAlreadyClosedError,
  ChatTimeoutError,
  ParticipantLimitError,
  InvalidChatMessageError,
  ChatBufferOverflowError,
  StreamNotFoundError,
  StreamAlreadyClosedError,
  InvalidStreamMessageError,
  StreamTimeoutError,
  AuthenticationError,
  AuthorizationError,
  InsufficientScopeError,
  TokenExpiredError,
  TokenInvalidError,
  PermissionDeniedError,
  RateLimitExceededError,
  UnsupportedVersionError,
  MissingRequiredFieldError,
  InvalidFieldFormatError,
  MessageTooLargeError,
  InvalidTraceError,
];

const BY_CODE = new Map(CLASSES.map((Class) => [Class.code, Class]));

/** Creates an error of the class that belongs to the code. */
export function arcError(code: number, reason: string, options?: ArcErrorOptions): ArcError {
  const Class = BY_CODE.get(code);
  return Class === undefined ? new ArcError(code, reason, options) : new Class(reason, options);
}

/**
 * Reads an error in each form that agents use: an envelope's `error`, or the data of an `error` event, which is
 * `{chatId, error: {code, message}}`, or `{code, message}`, or a string. Without an integer code it is -32603.
 */
export function readAgentError(payload: unknown, options: ArcErrorOptions): ArcError {
  const error = isObject(payload) && payload.error != null ? payload.error : payload;
  if (!isObject(error)) {
    return new InternalError(textOf(error), { ...options, fromAgent: true });
  }
  const { code, message } = error;
  const known = { ...options, details: error.details ?? error.data, fromAgent: true };
  return Number.isInteger(code)
    ? arcError(code as number, textOf(message), known)
    : new InternalError(textOf(message ?? error), known);
}

function textOf(value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  if (value === undefined || value === null || value === '') return 'The agent gave no reason';
  try {
    return JSON.stringify(value);
  } catch {
    // JSON.parse nests more deeply than JSON.stringify can.
    return 'The agent gave a reason that cannot be read';
  }
}
