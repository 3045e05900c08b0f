import type { FrameId } from '@arc/thread-protocol';
import {
  AgentNotFoundError,
  AuthorizationError,
  InvalidRequestError,
  ParseError,
  RateLimitExceededError,
} from '../../protocol/errors.js';
import type { FrameEcho } from '../frames/frame-echo.js';

/** Why a client's frame was answered with an error, and nothing was sent to an agent. */
export type RejectionReason =
  /** It is no frame, or none that is allowed there. */
  | 'invalid'
  /** `agents` or `authorize` do not allow its agent, or `route` has named none. */
  | 'forbidden'
  /** It exceeds a limit, such as `frameRate` or `maxPending`. */
  | 'limit'
  /** A function of the application threw, or this node may not use the session while the cluster's store is away. */
  | 'failed';

/** What `hooks.onReject` is given. The ids are those of the frame, as far as it has them. */
export interface FrameRejection {
  id: FrameId | undefined;
  agentId: string | undefined;
  contextId: string | undefined;
  traceId: string | undefined;
  reason: RejectionReason;
  /** What the client was answered with; if a function of the application threw, what it threw. */
  error: unknown;
}

export function describeRejection(error: unknown, frame: FrameEcho): FrameRejection {
  const { id, agent_id: agentId, context_id: contextId, trace_id: traceId } = frame;
  return { id, agentId, contextId, traceId, reason: reasonOf(error), error };
}

function reasonOf(error: unknown): RejectionReason {
  if (error instanceof RateLimitExceededError) return 'limit';
  if (error instanceof AuthorizationError || error instanceof AgentNotFoundError) return 'forbidden';
  return error instanceof InvalidRequestError || error instanceof ParseError ? 'invalid' : 'failed';
}
