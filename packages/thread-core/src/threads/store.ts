/** One thread: the chat that is open with an agent, in a context. */
export interface ThreadEntry {
  readonly agentId: string;
  readonly contextId?: string | undefined;
  chatId: string;
  /** The agent has begun to answer, but never ended its first answer: it may not have the chat yet. */
  unsettled?: boolean;
}

/** What a ThreadManager keeps its threads in, by a key of its own making. A `Map` is one, and the default. */
export interface ThreadStore {
  get(key: string): ThreadEntry | undefined;
  set(key: string, entry: ThreadEntry): unknown;
  delete(key: string): unknown;
  values(): Iterable<ThreadEntry>;
  clear(): void;
  readonly size: number;
}

/**
 * Threads are kept by (context, agent): by the agent's id alone where there is no context. Only keys of a context begin
 * with a colon and a number; that is the context's length, which keeps `("a", "b:c")` and `("a:b", "c")` apart.
 */
export function threadKey(agentId: string, contextId: string | undefined): string {
  if (contextId !== undefined) return `:${contextId.length}:${contextId}:${agentId}`;
  return agentId.startsWith(':') ? `::${agentId}` : agentId;
}
