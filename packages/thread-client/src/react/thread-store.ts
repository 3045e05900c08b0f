import { CancelledError } from '../errors.js';
import { type ArcMessage, type SendOptions, type ThreadClient, type Turn, textOf } from '../index.js';

/** One message of a conversation. */
export interface ThreadMessage {
  /** Unique in the conversation, and the same after each change. */
  readonly id: string;
  readonly role: 'user' | 'agent';
  /** What was said so far. */
  readonly text: string;
  /** `streaming` while more text may follow. A user's message is always `done`. */
  readonly status: 'streaming' | 'done' | 'cancelled' | 'failed';
  /** Why it failed. */
  readonly error?: Error | undefined;
  /** The agent had forgotten what was said before, and answered in a new chat. */
  readonly restarted?: boolean;
}

/** `submitted`: nothing of the answer has arrived. `error`: the last answer failed. */
export type ThreadStatus = 'ready' | 'submitted' | 'streaming' | 'error';

/** A conversation as it is now. It never changes: each change gives another one. */
export interface ThreadSnapshot {
  /** What was said, oldest first. */
  readonly messages: readonly ThreadMessage[];
  readonly status: ThreadStatus;
  /** Why the last answer failed. */
  readonly error: Error | undefined;
}

/** Which conversation it is, and what it begins with. */
export interface ThreadOptions {
  /** Tells conversations with the same agent apart. */
  contextId?: string | undefined;
  /**
   * What was said before, from a database, say. Read once, from the first component that names the conversation. An answer that is
   * still under way after a reload follows it, unless one of these messages has the `id` of its turn.
   */
  initialMessages?: readonly ThreadMessage[] | undefined;
}

const EMPTY: ThreadSnapshot = { messages: [], status: 'ready', error: undefined };

/** The conversation with one agent in one context, as React reads it: immutable snapshots, and listeners. */
export class ThreadStore {
  /** What it began with, also on a server. */
  readonly initial: ThreadSnapshot;
  snapshot: ThreadSnapshot;
  readonly #client: () => ThreadClient;
  readonly #agentId: string;
  readonly #contextId: string | undefined;
  readonly #listeners = new Set<() => void>();
  /** Turns whose answers are still to come. */
  readonly #running = new Set<Turn>();

  constructor(client: () => ThreadClient, agentId: string, { contextId, initialMessages = [] }: ThreadOptions) {
    this.#client = client;
    this.#agentId = agentId;
    this.#contextId = contextId;
    this.initial = { ...EMPTY, messages: initialMessages };
    this.snapshot = this.initial;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#adopt();
    return () => void this.#listeners.delete(listener);
  };

  readonly send = (message: string | ArcMessage, options: Omit<SendOptions, 'contextId'> = {}): Turn => {
    const contextId = this.#contextId === undefined ? {} : { contextId: this.#contextId };
    const { stream = true } = options;
    const turn = this.#client().send(this.#agentId, message, { ...options, stream, ...contextId });
    const text = typeof message === 'string' ? message : textOf(message);
    void this.#follow(turn, { id: `${turn.id}:user`, role: 'user', text, status: 'done' });
    return turn;
  };

  readonly stop = (): void => {
    for (const turn of this.#running) turn.cancel();
  };

  readonly end = (reason?: string): Promise<void> => {
    const ended = this.#end(reason);
    // As with the client's own promises, nobody has to look at it.
    ended.catch(() => {});
    return ended;
  };

  async #end(reason: string | undefined): Promise<void> {
    const contextId = this.#contextId === undefined ? {} : { contextId: this.#contextId };
    const ended = new Set(this.snapshot.messages.map(({ id }) => id));
    await this.#client().end(this.#agentId, { ...contextId, ...(reason === undefined ? {} : { reason }) });
    // What was sent meanwhile has begun the next conversation.
    const messages = this.snapshot.messages.filter(({ id }) => !ended.has(id));
    if (messages.length === 0) this.#set(EMPTY);
    else this.#setMessages(messages);
  }

  /** Follows the turns of the page before a reload, too. */
  #adopt(): void {
    const own = this.#client()
      .pending()
      .filter(({ agentId, contextId }) => agentId === this.#agentId && contextId === this.#contextId);
    // One that could not be shown to its end is listed, and is followed no more.
    const isListed = (turn: Turn): boolean => this.snapshot.messages.some(({ id }) => id === turn.id);
    for (const turn of own) if (!this.#running.has(turn) && !isListed(turn)) void this.#follow(turn);
  }

  async #follow(turn: Turn, ...question: ThreadMessage[]): Promise<void> {
    this.#running.add(turn);
    const id = turn.id;
    this.#setMessages([...this.snapshot.messages, ...question, { id, role: 'agent', text: '', status: 'streaming' }]);
    let text = '';
    try {
      for await (const piece of turn) {
        text += piece.text;
        this.#change(id, { text });
      }
      this.#running.delete(turn);
      this.#change(id, { status: 'done', ...(turn.restarted && { restarted: true }) });
    } catch (error) {
      this.#running.delete(turn);
      if (error instanceof CancelledError) this.#change(id, { status: 'cancelled' });
      else this.#change(id, { status: 'failed', error: error instanceof Error ? error : new Error(String(error)) });
    }
  }

  #change(id: string, change: Partial<ThreadMessage>): void {
    this.#setMessages(
      this.snapshot.messages.map((message) => (message.id === id ? { ...message, ...change } : message)),
    );
  }

  #setMessages(messages: readonly ThreadMessage[]): void {
    const last = messages.at(-1);
    const running = messages.filter(({ status }) => status === 'streaming');
    const isSilent = running.every(({ text }) => text === '');
    const idle = last?.status === 'failed' ? 'error' : 'ready';
    const status = running.length === 0 ? idle : isSilent ? 'submitted' : 'streaming';
    this.#set({ messages, status, error: status === 'error' ? last?.error : undefined });
  }

  #set(snapshot: ThreadSnapshot): void {
    this.snapshot = snapshot;
    for (const listener of [...this.#listeners]) listener();
  }
}
