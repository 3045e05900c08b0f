import type { ArcChat, ArcMessage } from '@arc/thread-protocol';
import { ChatAlreadyClosedError } from '../protocol/errors.js';

/** A chat as the agent server remembers it. */
export interface AgentChat {
  readonly chatId: string;
  readonly agentId: string;
  readonly createdAt: string;
  status: 'ACTIVE' | 'CLOSED';
  /** What both sides said, oldest first. */
  history: ArcMessage[];
  closedAt?: string;
  reason?: string | null;
}

/** Closed chats are remembered (and answered -43002) up to this many, so that a server can run for long. */
const MAX_CLOSED = 1000;

/** The chats of a server, in memory. @internal */
export class ChatRegistry {
  readonly all = new Map<string, AgentChat>();
  started = 0;
  ended = 0;
  readonly #closed: AgentChat[] = [];
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get open(): number {
    return this.all.size - this.#closed.length;
  }

  /** A chat to be added. If one is open under that id it continues, as on real servers. */
  draft(agentId: string, chatId: string): AgentChat {
    const known = this.all.get(chatId);
    if (known?.status === 'ACTIVE' && known.agentId === agentId) return known;
    return { chatId, agentId, createdAt: now(), status: 'ACTIVE', history: [] };
  }

  add(chat: AgentChat): void {
    if (this.all.get(chat.chatId) === chat) return;
    this.forget(chat.chatId);
    this.all.set(chat.chatId, chat);
    this.started++;
    this.#changed();
  }

  /** The open chat of that id, undefined if there is none. */
  find(agentId: string, chatId: string): AgentChat | undefined {
    const chat = this.all.get(chatId);
    if (chat?.agentId !== agentId) return undefined;
    if (chat.status === 'CLOSED') throw new ChatAlreadyClosedError(`Chat already closed: ${chatId}`);
    return chat;
  }

  close(chat: AgentChat, reason: string | null): void {
    Object.assign(chat, { status: 'CLOSED', closedAt: now(), reason });
    this.ended++;
    this.#closed.push(chat);
    if (this.#closed.length > MAX_CLOSED) this.forget(this.#closed[0]?.chatId);
    this.#changed();
  }

  /** Loses a chat, or all of them. */
  forget(chatId?: string): void {
    for (const chat of chatId === undefined ? [...this.all.values()] : [this.all.get(chatId)]) {
      if (chat === undefined) continue;
      this.all.delete(chat.chatId);
      const index = this.#closed.indexOf(chat);
      if (index >= 0) this.#closed.splice(index, 1);
    }
    this.#changed();
  }
}

/** The chat as it stands in a result. @internal */
export function chatResult(chat: AgentChat, message?: ArcMessage): { type: 'chat'; chat: ArcChat } {
  const { history, agentId, ...fields } = chat;
  return { type: 'chat', chat: message === undefined ? fields : { ...fields, message } };
}

/** @internal */
export function now(): string {
  return new Date().toISOString();
}
