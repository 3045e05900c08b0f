import { ErrorCode } from '@arc/thread-protocol';
import { isObject } from '../values.js';
import { ArcError, type ArcErrorOptions, CodedError, TransportError } from './arc-error.js';

export { ArcError, type ArcErrorOptions, TransportError };

/** -32700: what was received is not JSON. */
export class ParseError extends CodedError {
  static override readonly code = ErrorCode.ParseError;
  declare readonly code: typeof ErrorCode.ParseError;
}
/** -32600: a request or a frame is not valid. The message names the field. */
export class InvalidRequestError extends CodedError {
  static override readonly code = ErrorCode.InvalidRequest;
  declare readonly code: typeof ErrorCode.InvalidRequest;
}
/** -32601: the agent does not have this method. */
export class MethodNotFoundError extends CodedError {
  static override readonly code = ErrorCode.MethodNotFound;
  declare readonly code: typeof ErrorCode.MethodNotFound;
}
/** -32602: the parameters of the method are not valid. */
export class InvalidParamsError extends CodedError {
  static override readonly code = ErrorCode.InvalidParams;
  declare readonly code: typeof ErrorCode.InvalidParams;
}
/**
 * -32603: a fault inside the agent or, if `fromAgent` is false, on this side. Also an error without an integer code.
 */
export class InternalError extends CodedError {
  static override readonly code = ErrorCode.InternalError;
  declare readonly code: typeof ErrorCode.InternalError;
}
/** -41001: the endpoint does not know this agent id. */
export class AgentNotFoundError extends CodedError {
  static override readonly code = ErrorCode.AgentNotFound;
  declare readonly code: typeof ErrorCode.AgentNotFound;
}
/** -41002: the agent exists, and takes no requests now. */
export class AgentNotAvailableError extends CodedError {
  static override readonly code = ErrorCode.AgentNotAvailable;
  declare readonly code: typeof ErrorCode.AgentNotAvailable;
}
/** -41003: no ARC answer: the connection was refused, reset or cut, or the answer is not ARC. The message has the address. */
export class AgentUnreachableError extends TransportError {
  static override readonly code = ErrorCode.AgentUnreachable;
  declare readonly code: typeof ErrorCode.AgentUnreachable;
}
/** -41004: the agent id is not well-formed. */
export class InvalidAgentIdError extends CodedError {
  static override readonly code = ErrorCode.InvalidAgentId;
  declare readonly code: typeof ErrorCode.InvalidAgentId;
}
/** -41005: the agent could not authenticate the caller. */
export class AgentAuthenticationError extends CodedError {
  static override readonly code = ErrorCode.AgentAuthenticationFailed;
  declare readonly code: typeof ErrorCode.AgentAuthenticationFailed;
}
/** -41006: no answer came within `timeout`. The agent may have received the request. */
export class AgentTimeoutError extends TransportError {
  static override readonly code = ErrorCode.AgentTimeout;
  declare readonly code: typeof ErrorCode.AgentTimeout;
}
/** -42001: there is no task with this id. */
export class TaskNotFoundError extends CodedError {
  static override readonly code = ErrorCode.TaskNotFound;
  declare readonly code: typeof ErrorCode.TaskNotFound;
}
/** -42002: the task is completed, and takes no more input. */
export class TaskAlreadyCompletedError extends CodedError {
  static override readonly code = ErrorCode.TaskAlreadyCompleted;
  declare readonly code: typeof ErrorCode.TaskAlreadyCompleted;
}
/** -42003: the task was canceled before. */
export class TaskAlreadyCancelledError extends CodedError {
  static override readonly code = ErrorCode.TaskAlreadyCancelled;
  declare readonly code: typeof ErrorCode.TaskAlreadyCancelled;
}
/** -42004: the agent failed while it worked on the task. */
export class TaskExecutionError extends CodedError {
  static override readonly code = ErrorCode.TaskExecutionFailed;
  declare readonly code: typeof ErrorCode.TaskExecutionFailed;
}
/** -42005: the task took too long. As an answer to a `chat.*` method some servers mean "chat not found" by it. */
export class TaskTimeoutError extends CodedError {
  static override readonly code = ErrorCode.TaskTimeout;
  declare readonly code: typeof ErrorCode.TaskTimeout;
}
/** -42006: the state of the task does not allow this. */
export class InvalidStatusTransitionError extends CodedError {
  static override readonly code = ErrorCode.InvalidStatusTransition;
  declare readonly code: typeof ErrorCode.InvalidStatusTransition;
}
/**
 * -43001: the agent does not have this chat: it never had, has ended it, or has lost it in a restart. A ThreadManager
 * then sends the message in a new chat.
 */
export class ChatNotFoundError extends CodedError {
  static override readonly code = ErrorCode.ChatNotFound;
  declare readonly code: typeof ErrorCode.ChatNotFound;
}
/** -43002: the chat is ended. */
export class ChatAlreadyClosedError extends CodedError {
  static override readonly code = ErrorCode.ChatAlreadyClosed;
  declare readonly code: typeof ErrorCode.ChatAlreadyClosed;
}
/** -43003: the chat was idle for too long. */
export class ChatTimeoutError extends CodedError {
  static override readonly code = ErrorCode.ChatTimeout;
  declare readonly code: typeof ErrorCode.ChatTimeout;
}
/** -43004: the chat has as many participants as the agent allows. */
export class ParticipantLimitError extends CodedError {
  static override readonly code = ErrorCode.ParticipantLimit;
  declare readonly code: typeof ErrorCode.ParticipantLimit;
}
/** -43005: the message of a chat is not valid. */
export class InvalidChatMessageError extends CodedError {
  static override readonly code = ErrorCode.InvalidChatMessage;
  declare readonly code: typeof ErrorCode.InvalidChatMessage;
}
/** -43006: more messages wait in the chat than the agent keeps. */
export class ChatBufferOverflowError extends CodedError {
  static override readonly code = ErrorCode.ChatBufferOverflow;
  declare readonly code: typeof ErrorCode.ChatBufferOverflow;
}
/** -43101: there is no stream with this id. */
export class StreamNotFoundError extends CodedError {
  static override readonly code = ErrorCode.StreamNotFound;
  declare readonly code: typeof ErrorCode.StreamNotFound;
}
/** -43102: the stream is closed. */
export class StreamAlreadyClosedError extends CodedError {
  static override readonly code = ErrorCode.StreamAlreadyClosed;
  declare readonly code: typeof ErrorCode.StreamAlreadyClosed;
}
/** -43103: a message of the stream is not valid. */
export class InvalidStreamMessageError extends CodedError {
  static override readonly code = ErrorCode.InvalidStreamMessage;
  declare readonly code: typeof ErrorCode.InvalidStreamMessage;
}
/** -43104: a stream stopped before its end: it stalled for `streamIdleTimeout`, or took longer than `streamTimeout`. */
export class StreamTimeoutError extends TransportError {
  static override readonly code = ErrorCode.StreamTimeout;
  declare readonly code: typeof ErrorCode.StreamTimeout;
}
/** -44001: the caller is not authenticated, or no token for the agent could be had. */
export class AuthenticationError extends CodedError {
  static override readonly code = ErrorCode.AuthenticationFailed;
  declare readonly code: typeof ErrorCode.AuthenticationFailed;
}
/**
 * -44002: the caller may not do this. The relay answers so for agents that are not in `agents`, or that `authorize`
 * denies.
 */
export class AuthorizationError extends CodedError {
  static override readonly code = ErrorCode.AuthorizationFailed;
  declare readonly code: typeof ErrorCode.AuthorizationFailed;
}
/** -44003: the token lacks a scope that the method needs. */
export class InsufficientScopeError extends CodedError {
  static override readonly code = ErrorCode.InsufficientScope;
  declare readonly code: typeof ErrorCode.InsufficientScope;
}
/** -44004: the token has expired. A client whose `token` is a function has asked for another one before. */
export class TokenExpiredError extends CodedError {
  static override readonly code = ErrorCode.TokenExpired;
  declare readonly code: typeof ErrorCode.TokenExpired;
}
/** -44005: the token is not valid. A client whose `token` is a function has asked for another one before. */
export class TokenInvalidError extends CodedError {
  static override readonly code = ErrorCode.TokenInvalid;
  declare readonly code: typeof ErrorCode.TokenInvalid;
}
/** -44006: the caller lacks a permission. */
export class PermissionDeniedError extends CodedError {
  static override readonly code = ErrorCode.PermissionDenied;
  declare readonly code: typeof ErrorCode.PermissionDenied;
}
/** -44007: too many requests, or a limit of the relay: frames, pending sends, threads or bytes. Send again later. */
export class RateLimitExceededError extends CodedError {
  static override readonly code = ErrorCode.RateLimitExceeded;
  declare readonly code: typeof ErrorCode.RateLimitExceeded;
}
/** -45001: the agent does not speak this version of ARC. */
export class UnsupportedVersionError extends CodedError {
  static override readonly code = ErrorCode.UnsupportedVersion;
  declare readonly code: typeof ErrorCode.UnsupportedVersion;
}
/** -45002: a required field of the message is missing. */
export class MissingRequiredFieldError extends CodedError {
  static override readonly code = ErrorCode.MissingRequiredField;
  declare readonly code: typeof ErrorCode.MissingRequiredField;
}
/** -45003: a field of the message has the wrong form. */
export class InvalidFieldFormatError extends CodedError {
  static override readonly code = ErrorCode.InvalidFieldFormat;
  declare readonly code: typeof ErrorCode.InvalidFieldFormat;
}
/**
 * -45004: an answer exceeds `maxResponseBytes`, or an event of a stream `maxEventBytes`; or the agent finds the
 * request too large.
 */
export class MessageTooLargeError extends TransportError {
  static override readonly code = ErrorCode.MessageTooLarge;
  declare readonly code: typeof ErrorCode.MessageTooLarge;
}
/** -45005: the trace id is not valid. */
export class InvalidTraceError extends CodedError {
  static override readonly code = ErrorCode.InvalidTrace;
  declare readonly code: typeof ErrorCode.InvalidTrace;
}
/** -43104: a stream that had begun stalled, or was cut. */
export class StreamInterruptedError extends StreamTimeoutError {}
/** -50001, only from the relay: a send came while another one ran, and `busy` is `'reject'`. */
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
