/**
 * The error codes of ARC 1.0, of JSON-RPC, and the one that the relay adds (-50001). An agent may send other codes of
 * its own.
 */
export const ErrorCode = {
  ParseError: -32_700,
  InvalidRequest: -32_600,
  MethodNotFound: -32_601,
  InvalidParams: -32_602,
  InternalError: -32_603,
  AgentNotFound: -41_001,
  AgentNotAvailable: -41_002,
  /** The agent could not be reached, its connection failed, or its answer is not ARC. */
  AgentUnreachable: -41_003,
  InvalidAgentId: -41_004,
  AgentAuthenticationFailed: -41_005,
  AgentTimeout: -41_006,
  TaskNotFound: -42_001,
  TaskAlreadyCompleted: -42_002,
  TaskAlreadyCancelled: -42_003,
  TaskExecutionFailed: -42_004,
  TaskTimeout: -42_005,
  InvalidStatusTransition: -42_006,
  ChatNotFound: -43_001,
  ChatAlreadyClosed: -43_002,
  ChatTimeout: -43_003,
  ParticipantLimit: -43_004,
  InvalidChatMessage: -43_005,
  ChatBufferOverflow: -43_006,
  StreamNotFound: -43_101,
  StreamAlreadyClosed: -43_102,
  InvalidStreamMessage: -43_103,
  /** A stream had begun, and then stalled or was cut. */
  StreamTimeout: -43_104,
  AuthenticationFailed: -44_001,
  /** This client may not talk to this agent. */
  AuthorizationFailed: -44_002,
  InsufficientScope: -44_003,
  TokenExpired: -44_004,
  TokenInvalid: -44_005,
  PermissionDenied: -44_006,
  /** A limit of the relay: too many frames, sends, threads or bytes. */
  RateLimitExceeded: -44_007,
  UnsupportedVersion: -45_001,
  MissingRequiredField: -45_002,
  InvalidFieldFormat: -45_003,
  MessageTooLarge: -45_004,
  InvalidTrace: -45_005,
  /** The relay's own: the thread has a pending send, and its option `busy` is `reject`. */
  AgentBusy: -50_001,
} as const;

export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];
