import type { MessageFrame } from '@arc/thread-protocol';
import { AgentNotFoundError, ArcError, AuthorizationError, RateLimitExceededError } from '../../protocol/errors.js';
import { rejectPromise } from '../../values.js';
import type { Session } from '../api.js';
import type { RelayConfig } from '../options.js';

/** A message is rejected because of chats that are being ended, which is not the client's fault. */
class EndingBacklogError extends RateLimitExceededError {}

/** Whether a client should not have sent the message. A function of the application that throws is not its fault. */
export function isClientFault(error: unknown): boolean {
  return error instanceof ArcError && !(error instanceof EndingBacklogError);
}

/** What `route` and `authorize` say of a message. */
export interface Decision {
  readonly agentId: string;
  readonly isAuthorized: boolean;
}

/**
 * Asks `route`, if the frame names no agent, and `authorize`.
 * @throws AgentNotFoundError if there is no agent, and what the two functions throw
 */
export async function decide(
  { route, authorize }: Pick<RelayConfig, 'route' | 'authorize'>,
  session: Session,
  frame: MessageFrame,
): Promise<Decision> {
  const agentId = frame.agent_id ?? (await route?.(frame, session));
  if (typeof agentId !== 'string' || agentId === '') throw new AgentNotFoundError('No agent for this frame');
  const isAuthorized = authorize === undefined || (await authorize(session.identity, agentId, frame)) === true;
  return { agentId, isAuthorized };
}

/** What counts for the limits of a session. */
export interface Load {
  /** Sends. */
  readonly pending: number;
  /** Size of the frames that are pending or held, with the one that is checked. */
  readonly bytes: number;
}

/** @throws ArcError if the message may not be sent */
export function checkMessage(
  config: RelayConfig,
  session: Session,
  frame: MessageFrame,
  { agentId, isAuthorized }: Decision,
  { pending, bytes }: Load,
): void {
  const { isAgentAllowed, maxPending, maxPendingBytes, maxThreads } = config;
  if (!isAuthorized || (isAgentAllowed !== undefined && rejectPromise(isAgentAllowed(agentId), 'agents') !== true)) {
    throw new AuthorizationError(`Agent "${agentId}" is not allowed`);
  }
  // Not before: they are created on demand.
  const { threads } = session;
  const { threadCount, endingCount } = threads;
  const needsRoom = threadCount + endingCount >= maxThreads && !threads.hasThread(agentId, frame.context_id);
  if (pending >= maxPending) throw new RateLimitExceededError(`More than ${maxPending} sends are pending`);
  if (bytes > maxPendingBytes) throw new RateLimitExceededError(`More than ${maxPendingBytes} bytes are pending`);
  if (needsRoom && threadCount >= maxThreads)
    throw new RateLimitExceededError(`More than ${maxThreads} threads are open`);
  // Chats that are being ended cost requests, too: a client cannot start and cancel without limit.
  if (needsRoom || pending + endingCount >= maxPending) throw new EndingBacklogError('Too many chats are being ended');
}
