import type { ArcMessage, ArcPart } from '@arc/thread-protocol';
import { ArcError, InternalError, readAgentError } from '../protocol/errors.js';
import { type AgentHandler, type AgentTurn, append, isEvent, partOf, piecesOf } from './agent.js';
import { type AgentChat, now } from './chats.js';
import type { Exchange } from './exchange.js';

/** @internal */
export async function wholeReply(handler: AgentHandler, turn: AgentTurn): Promise<ArcMessage> {
  const parts: ArcPart[] = [];
  for await (const piece of piecesOf(handler, turn)) {
    if (!isEvent(piece)) append(parts, piece);
    else if (piece.event === 'error') throw readAgentError(piece.data, {});
  }
  return { role: 'agent', parts, agentId: turn.agentId, timestamp: now() };
}

/** Streams a reply; `ready` is called before its first byte. The events of a stateless agent name no chat. @internal */
export async function streamReply(
  exchange: Exchange,
  handler: AgentHandler,
  turn: AgentTurn,
  chat: AgentChat,
  ready: () => void,
  isStateless = false,
): Promise<void> {
  const chatId = isStateless ? undefined : chat.chatId;
  const parts: ArcPart[] = [];
  let last = '';
  exchange.openStream();
  try {
    for await (const piece of piecesOf(handler, turn)) {
      ready();
      if (isEvent(piece)) {
        last = piece.event;
        await exchange.event(piece.event, piece.data);
      } else {
        append(parts, piece);
        await exchange.event('stream', { chatId, message: { role: 'agent', parts: [partOf(piece)] } });
      }
    }
    ready();
    chat.history.push({ role: 'agent', parts, agentId: turn.agentId, timestamp: now() });
    if (last !== 'done' && last !== 'error') {
      await exchange.event('done', { chatId, status: chat.status, done: true, requestId: exchange.request.id });
    }
  } catch (error) {
    if (exchange.over) return;
    await exchange.event('error', { chatId, error: asArcError(error).toJSON() });
  }
  await exchange.end();
}

/** @internal */
export function asArcError(error: unknown): ArcError {
  if (error instanceof ArcError) return error;
  return new InternalError(`Internal error: ${error instanceof Error ? error.message : String(error)}`);
}
