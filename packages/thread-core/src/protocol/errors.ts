import type { ArcErrorObject } from '@arc/thread-protocol';
import { isObject } from '../values.js';

/** What is known about a failed call, beside its code and message. Every field is optional. */
export interface ArcErrorOptions {
  /** The agent's own details of the error (`error.details`, or `error.data` from older servers). */
  details?: unknown;
  /** The HTTP status of the answer; absent where none came. */
  status?: number | undefined;
  agentId?: string | undefined;
  method?: string | undefined;
  traceId?: string | undefined;
  cause?: unknown;
  /** True where the agent itself answered with this error, false where it was found on this side. */
  fromAgent?: boolean;
  /** The agent's address (origin and path, never credentials) that a transport error is about. */
  address?: string | undefined;
}

/**
 * A failed ARC call. Subclasses name the code (`instanceof ChatNotFoundError`); an application's own code, and any
 * that the table does not list, is a plain `ArcError`.
 */
export class ArcError extends Error {
  /** The ARC error code, for example -43001. */
  readonly code: number;
  readonly details: unknown;
  readonly status: number | undefined;
  readonly agentId: string | undefined;
  readonly method: string | undefined;
  readonly traceId: string | undefined;
  readonly fromAgent: boolean;
  readonly address: string | undefined;
  /** What happened, without the address: fit for an end user's eyes. */
  readonly reason: string;

  constructor(code: number, reason: string, options: ArcErrorOptions = {}) {
    super(
      // An agent's own words stand as they are.
      options.address === undefined || options.fromAgent ? reason : `${reason} (${options.address})`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? null;
    this.status = options.status;
    this.agentId = options.agentId;
    this.method = options.method;
    this.traceId = options.traceId;
    this.fromAgent = options.fromAgent ?? false;
    this.address = options.address;
    this.reason = reason;
  }

  /** The error as it stands in an envelope or an error frame: without the address. */
  toJSON(): ArcErrorObject {
    const { code, reason: message, details } = this;
    return details === null ? { code, message } : { code, message, details };
  }
}

/** An error of the ARC table: its class names its code. */
abstract class CodedError extends ArcError {
  /** The code that every error of this class has. */
  static readonly code: number = 0;
  constructor(reason: string, options?: ArcErrorOptions) {
    super(new.target.code, reason, options);
  }
}

/** No answer, or not a whole one, came from the agent: says which address and what happened. */
export abstract class TransportError extends CodedError {}

export class ParseError extends CodedError {
  static override readonly code = -32_700;
}
export class InvalidRequestError extends CodedError {
  static override readonly code = -32_600;
}
export class MethodNotFoundError extends CodedError {
  static override readonly code = -32_601;
}
export class InvalidParamsError extends CodedError {
  static override readonly code = -32_602;
}
export class InternalError extends CodedError {
  static override readonly code = -32_603;
}
export class AgentNotFoundError extends CodedError {
  static override readonly code = -41_001;
}
export class AgentNotAvailableError extends CodedError {
  static override readonly code = -41_002;
}
/** No ARC answer: refused, reset, cut, or an answer that is not ARC. Says the address and what happened. */
export class AgentUnreachableError extends TransportError {
  static override readonly code = -41_003;
}
export class InvalidAgentIdError extends CodedError {
  static override readonly code = -41_004;
}
export class AgentAuthenticationError extends CodedError {
  static override readonly code = -41_005;
}
/** Nothing came within the time-out. */
export class AgentTimeoutError extends TransportError {
  static override readonly code = -41_006;
}
export class TaskNotFoundError extends CodedError {
  static override readonly code = -42_001;
}
export class TaskAlreadyCompletedError extends CodedError {
  static override readonly code = -42_002;
}
export class TaskAlreadyCancelledError extends CodedError {
  static override readonly code = -42_003;
}
export class TaskExecutionError extends CodedError {
  static override readonly code = -42_004;
}
/** As an answer to a `chat.*` method some servers mean "chat not found" by it. */
export class TaskTimeoutError extends CodedError {
  static override readonly code = -42_005;
}
export class InvalidStatusTransitionError extends CodedError {
  static override readonly code = -42_006;
}
export class ChatNotFoundError extends CodedError {
  static override readonly code = -43_001;
}
export class ChatAlreadyClosedError extends CodedError {
  static override readonly code = -43_002;
}
export class ChatTimeoutError extends CodedError {
  static override readonly code = -43_003;
}
export class ParticipantLimitError extends CodedError {
  static override readonly code = -43_004;
}
export class InvalidChatMessageError extends CodedError {
  static override readonly code = -43_005;
}
export class ChatBufferOverflowError extends CodedError {
  static override readonly code = -43_006;
}
export class StreamNotFoundError extends CodedError {
  static override readonly code = -43_101;
}
export class StreamAlreadyClosedError extends CodedError {
  static override readonly code = -43_102;
}
export class InvalidStreamMessageError extends CodedError {
  static override readonly code = -43_103;
}
export class StreamTimeoutError extends TransportError {
  static override readonly code = -43_104;
}
export class AuthenticationError extends CodedError {
  static override readonly code = -44_001;
}
export class AuthorizationError extends CodedError {
  static override readonly code = -44_002;
}
export class InsufficientScopeError extends CodedError {
  static override readonly code = -44_003;
}
export class TokenExpiredError extends CodedError {
  static override readonly code = -44_004;
}
export class TokenInvalidError extends CodedError {
  static override readonly code = -44_005;
}
export class PermissionDeniedError extends CodedError {
  static override readonly code = -44_006;
}
export class RateLimitExceededError extends CodedError {
  static override readonly code = -44_007;
}
export class UnsupportedVersionError extends CodedError {
  static override readonly code = -45_001;
}
export class MissingRequiredFieldError extends CodedError {
  static override readonly code = -45_002;
}
export class InvalidFieldFormatError extends CodedError {
  static override readonly code = -45_003;
}
export class MessageTooLargeError extends TransportError {
  static override readonly code = -45_004;
}
export class InvalidTraceError extends CodedError {
  static override readonly code = -45_005;
}
/** A stream that had begun stalled, broke off, or ended without `done`. */
export class StreamInterruptedError extends StreamTimeoutError {}
/** The relay's own: a send came while another one ran, and `busy` is `'reject'`. */
export class AgentBusyError extends CodedError {
  static override readonly code = -50_001;
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

/** The error of a code, as its class. */
export function arcError(code: number, reason: string, options?: ArcErrorOptions): ArcError {
  const Class = BY_CODE.get(code);
  return Class === undefined ? new ArcError(code, reason, options) : new Class(reason, options);
}

/**
 * Reads an error however an agent spells it: an envelope's `error`, or the data of an `error` event, which is
 * `{chatId, error: {code, message}}`, or `{code, message}`, or a string. What has no integer code is -32603.
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

const LOST = new Set<number>([
  ChatNotFoundError.code,
  ChatAlreadyClosedError.code,
  ChatTimeoutError.code,
  TaskTimeoutError.code,
]);

/** Whether an answer to a `chat.*` method says that the agent does not (or no longer) have the chat. */
export function isLostChat(error: unknown): boolean {
  return error instanceof ArcError && error.fromAgent && LOST.has(error.code);
}
