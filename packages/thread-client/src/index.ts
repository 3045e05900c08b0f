export {
  type ArcMessage,
  type ArcPart,
  text,
  textOf,
} from '@arc/thread-protocol';
export { createThreadClient, type ThreadClient } from './client.js';
export {
  AgentError,
  CancelledError,
  ClosedError,
  InterruptedError,
  LimitError,
  SessionLostError,
  ThreadClientError,
} from './errors.js';
export type { ThreadClientEvents } from './events.js';
export type {
  ClientState,
  CloseInfo,
  EndOptions,
  SendOptions,
  StorageLike,
  ThreadClientOptions,
  ThreadInfo,
  TraceContext,
  WebSocketConstructor,
  WebSocketLike,
} from './options.js';
export type { Piece } from './piece-buffer.js';
export type { Turn } from './turn.js';
