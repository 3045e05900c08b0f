import type { ChatCookies } from '../client/cookies.js';

/** A thread: the chat with an agent in a context. Plain data that survives JSON. */
export interface ThreadEntry {
  readonly agentId: string;
  readonly contextId?: string | undefined;
  chatId: string;
  /** True if the first answer began and never ended: the agent may not have the chat yet. */
  unsettled?: boolean;
  /** The cookies that the agent has set for this chat, with the client's option `cookies`. */
  cookies?: ChatCookies | undefined;
  /** True if the first answer named no chat: the agent may be stateless. */
  unnamed?: boolean;
  /** True if the agent keeps no chats: each message is a chat.start, and there is nothing to end. */
  stateless?: boolean;
  /** True if the thread got another chat while this one was being ended: a node that takes the threads over ends it. */
  ending?: boolean;
}

/** What becomes known of a chat after its chat.start was sent. */
export type ThreadChange = Partial<Omit<ThreadEntry, 'agentId' | 'contextId'>>;

/**
 * Where a ThreadManager keeps its threads, by keys of its own making. A `Map` is such a store, and the default. All
 * methods are synchronous.
 */
export interface ThreadStore {
  /** The thread of a key. */
  get(key: string): ThreadEntry | undefined;
  /** Stores a thread. The manager changes the object afterwards: keep it, or copy it again on each `set`. */
  set(key: string, entry: ThreadEntry): unknown;
  /** Removes a thread. The result is ignored. */
  delete(key: string): unknown;
  /** All threads. */
  values(): Iterable<ThreadEntry>;
  /** Removes all threads. */
  clear(): void;
  /** How many threads there are. */
  readonly size: number;
}

/**
 * The key of a thread: the agent's id, with the context before it if there is one. Only keys with a context begin
 * with a colon and a number. The number is the length of the context, which keeps `("a", "b:c")` and `("a:b", "c")`
 * apart.
 */
export function threadKey(agentId: string, contextId: string | undefined): string {
  if (contextId !== undefined) return `:${contextId.length}:${contextId}:${agentId}`;
  return agentId.startsWith(':') ? `::${agentId}` : agentId;
}
