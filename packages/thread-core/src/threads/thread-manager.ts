import type { ChatEndResult } from '@arc/thread-protocol';
import { Answer, type ArcResponse } from '../client/answer.js';
import type { ArcClient } from '../client/arc-client.js';
import type { ArcStream } from '../client/stream.js';
import { type Token, TokenSource } from '../client/token.js';
import { type Logger, silentLogger } from '../logger.js';
import { checkId, checkManager, checkSend, checkText, checkTimeout } from './checks.js';
import type { ChatOutcome, EndChatOptions } from './ending.js';
import type { BusyPolicy } from './lane.js';
import type { Send, SendListener, SendRequest } from './send.js';
import { type ThreadStore, threadKey } from './store.js';
import { type ThreadHooks, ThreadTable } from './table.js';

export interface ThreadManagerOptions {
  /** Where threads are kept. Default: a `Map`. */
  store?: ThreadStore | undefined;
  /** What a new send does where one of the same thread still runs. Default `queue`. */
  busy?: BusyPolicy | undefined;
  /** Tokens of this connection's own, in place of the client's. */
  token?: Token | undefined;
  /** Milliseconds that ending a chat may take, retries included. Default 5,000. */
  cleanupTimeout?: number | undefined;
  /** Told of chats that could not be ended. Default: nothing is logged. */
  logger?: Logger | undefined;
  hooks?: ThreadHooks | undefined;
}

export interface SendOptions extends SendRequest {
  /** Aborts the send: it rejects with the signal's reason, and the agent's connection is closed. */
  signal?: AbortSignal | undefined;
}

export interface EndAllOptions {
  /** Goes into each chat.end's `reason`. */
  reason?: string | undefined;
  /** Milliseconds that it may take, retries included; the manager's `cleanupTimeout` without it. */
  timeout?: number | undefined;
}

/**
 * The threads of one connection: `{agent: chat}`. It chooses chat.start or chat.message for each send, starts one
 * chat for each (context, agent), and ends them all. Make one for each WebSocket connection; share the client.
 */
export class ThreadManager implements AsyncDisposable {
  readonly #table: ThreadTable;

  /** @throws TypeError that names the option that is wrong */
  constructor(client: ArcClient, options: ThreadManagerOptions = {}) {
    checkManager(client, options);
    const { store, busy = 'queue', token, cleanupTimeout = 5000 } = options;
    const { logger = silentLogger, hooks = {} } = options;
    const tokens = token === undefined ? undefined : new TokenSource(token);
    this.#table = new ThreadTable(client, store, busy, tokens, cleanupTimeout, logger, hooks);
  }

  /**
   * Sends a message to an agent: chat.start the first time, chat.message after. A chat that the agent has lost is
   * started afresh once; the answer then has `restarted: true`.
   *
   * Rejects with an `ArcError` where the agent answers with one or gives no answer, with the signal's reason where it
   * aborts, and with an `AbortError` where the chat is ended before the answer came.
   */
  sendToAgent(options: SendOptions & { stream: true }): Promise<ArcStream>;
  sendToAgent(options: SendOptions): Promise<ArcResponse>;
  async sendToAgent(options: SendOptions): Promise<unknown> {
    checkSend(options);
    const { signal, ...request } = options;
    const answer = new Answer(request.stream === true, signal);
    return answer.from(() => this.dispatch(request, answer)).promise;
  }

  /** Sends a message whose answer is heard by a listener: what `sendToAgent` and the relay are made of. @internal */
  dispatch(request: SendRequest, listener: SendListener): Send {
    return this.#table.dispatch(request, listener);
  }

  /** The id of the chat with an agent; it is known as soon as its chat.start is sent. */
  getThreadId(agentId: string, contextId?: string): string | undefined {
    return this.#table.store.get(threadKey(agentId, contextId))?.chatId;
  }

  hasThread(agentId: string, contextId?: string): boolean {
    return this.getThreadId(agentId, contextId) !== undefined;
  }

  /** Takes over a chat that was started elsewhere: the next send is a chat.message in it. */
  storeThreadId(agentId: string, chatId: string, contextId?: string): void {
    checkId('agentId', agentId);
    checkId('chatId', chatId);
    checkText('contextId', contextId);
    this.#table.keep(threadKey(agentId, contextId), { agentId, contextId, chatId });
  }

  /** Forgets a thread without ending its chat. Returns the id of that chat. */
  removeThreadId(agentId: string, contextId?: string): string | undefined {
    const key = threadKey(agentId, contextId);
    const chatId = this.#table.store.get(key)?.chatId;
    this.#table.store.delete(key);
    return chatId;
  }

  /** The agents that there are threads with, each once. */
  getAllAgents(): string[] {
    return [...new Set(Array.from(this.#table.store.values(), (thread) => thread.agentId))];
  }

  get threadCount(): number {
    return this.#table.store.size;
  }

  /** Chats that are being ended, those of cancelled and failed starts included. @internal */
  get endingCount(): number {
    return this.#table.endingCount;
  }

  /** Forgets all threads without ending their chats. */
  clear(): void {
    this.#table.store.clear();
  }

  /**
   * Ends the chat with an agent. Sends of that thread that run or wait are cancelled. The thread is forgotten at once:
   * the next send starts a new chat. Gives the agent's answer; undefined where there was no chat to end.
   * @throws ArcError where the agent could not be told within `cleanupTimeout`
   */
  async endChat(agentId: string, options: EndChatOptions = {}): Promise<ArcResponse<ChatEndResult> | undefined> {
    checkId('agentId', agentId);
    checkText('contextId', options.contextId);
    checkText('traceId', options.traceId);
    const outcome = await this.endThread(agentId, options);
    if (outcome !== undefined && !outcome.ok) throw outcome.error;
    return outcome?.response;
  }

  /** As `endChat`, but gives the outcome. @internal */
  endThread(agentId: string, options: EndChatOptions): Promise<ChatOutcome | undefined> {
    return this.#table.endThread(threadKey(agentId, options.contextId), options);
  }

  /**
   * Ends all chats, side by side; call it when the connection is gone. Sends that run or wait are cancelled. Does not
   * reject where chats cannot be ended: there is one outcome for each thread. Chats that are being ended already are
   * waited for. The ThreadManager can be used again afterwards.
   */
  async endAllChats(options: EndAllOptions = {}): Promise<ChatOutcome[]> {
    checkTimeout('timeout', options.timeout);
    return this.#table.endAll(options, options.timeout);
  }

  /** An other name of `endAllChats`. */
  cleanupAll(options?: EndAllOptions): Promise<ChatOutcome[]> {
    return this.endAllChats(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endAllChats();
  }
}
