export * from '@arc/thread-protocol';
export {
  ArcClient,
  type ArcClientOptions,
  type CallOptions,
  type ChatEndOptions,
  type ChatMessageOptions,
  type ChatMethods,
  type ChatStartOptions,
  type TaskCreateOptions,
  type TaskMethods,
  type TaskOptions,
} from './client/arc-client.js';
export type { BreakerOptions, EndpointState } from './client/breaker.js';
export type { CallContext } from './client/call-trace.js';
export type { EndpointOption } from './client/endpoint.js';
export type { ArcEvent } from './client/event.js';
export type { HeadersContext, HeadersOption } from './client/request-headers.js';
export type { ArcResponse } from './client/response.js';
export { ArcStream } from './client/stream.js';
export type { Token } from './client/token.js';
export type { Logger } from './logger.js';
export * from './protocol/errors.js';
export type { IdentityOptions } from './relay/admission/identity.js';
export type { OriginCheck } from './relay/admission/origin.js';
export type { Admission, Refusal, RefusalReason, RefusalReport } from './relay/admission/refusal.js';
export type {
  AgentSource,
  AttachOptions,
  RelayHooks,
  RelayOptions,
  ResumeOptions,
  SendStart,
  SendState,
  SendSummary,
  Session,
  SpokenTurn,
} from './relay/api.js';
export { ClusterUnavailableError } from './relay/cluster/cluster-errors.js';
export type { ClusterOptions } from './relay/cluster/cluster-options.js';
export type { ClusterState } from './relay/cluster/cluster-state.js';
export type { ClusterStats } from './relay/cluster/cluster-stats.js';
export type { RelaySocket, WsOptions } from './relay/connection/socket.js';
export { framesSchema } from './relay/frames/frame-schema.js';
export type { RelayHealth } from './relay/monitoring/health.js';
export type { FrameRejection, RejectionReason } from './relay/monitoring/rejection.js';
export type { SessionContext } from './relay/monitoring/session-trace.js';
export type { CloseSummary, Counters, RelayStats } from './relay/monitoring/stats-types.js';
export { createRelay, type Relay } from './relay/relay.js';
export { type MemoryStore, memoryStore } from './relay/store/memory-store.js';
export {
  type ClaimResult,
  FencedError,
  type JournalSlice,
  type JsonValue,
  type Ownership,
  type ReapedSession,
  type ReapOptions,
  type Renewal,
  type SessionMeta,
  type SessionPlace,
  type SessionProgress,
  type SessionState,
  type SessionStore,
  STORED_VERSION,
  type StoredSession,
  StoreError,
  type StoreErrorCode,
  type StoreNode,
} from './relay/store/session-store.js';
export {
  createNotificationHandler,
  type NotificationHandler,
  type NotificationHandlerOptions,
  type NotificationRequest,
} from './tasks/notification-handler.js';
export { isLostChat } from './threads/chat-errors.js';
export type { ChatOutcome, EndChatOptions } from './threads/ending.js';
export type { EndAllOptions, SendOptions, ThreadHooks, ThreadManagerOptions } from './threads/options.js';
export type { SendRequest, TraceContext } from './threads/send-request.js';
export type { SendContext } from './threads/send-trace.js';
export type { ThreadEntry, ThreadStore } from './threads/store.js';
export { ThreadManager } from './threads/thread-manager.js';
export type { BusyPolicy } from './threads/thread-queue.js';
