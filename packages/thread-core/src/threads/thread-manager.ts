import type { ChatEndResult } from '@arc/thread-protocol';
import { Answer } from '../client/answer.js';
import type { ArcClient } from '../client/arc-client.js';
import type { ArcResponse } from '../client/response.js';
import type { ArcStream } from '../client/stream.js';
import { TokenSource } from '../client/token.js';
import { silentLogger } from '../logger.js';
import type { ChatOutcome, EndChatOptions } from './ending.js';
import {
  checkId,
  checkManager,
  checkSend,
  checkText,
  checkTimeout,
  type EndAllOptions,
  type ObservedOptions,
  type SendOptions,
  type ThreadManagerOptions,
  type ThreadsOwner,
} from './options.js';
import type { Send, SendListener, SendRequest } from './send.js';
import { type ThreadEntry, threadKey } from './store.js';
import { ThreadTable } from './thread-table.js';

/**
 * The threads of one connection: which chat is open with which agent. Each send becomes a chat.start or a chat.message;
 * there is one chat for each (context, agent). Make one ThreadManager for each WebSocket connection, and end its chats
 * when the connection is gone. The client can be shared.
 */
export class ThreadManager implements AsyncDisposable {
  readonly #table: ThreadTable;
  readonly #owner: ThreadsOwner | undefined;

  /** @throws TypeError that begins with the name of the option that is wrong */
  constructor(client: ArcClient, options?: ThreadManagerOptions);
  /** @internal */
  constructor(client: ArcClient, options?: ObservedOptions);
  constructor(client: ArcClient, options: ObservedOptions = {}) {
    checkManager(client, options);
    const { store, busy = 'queue', token, cleanupTimeout = 5000, session } = options;
    const { logger = silentLogger, hooks = {}, observer, threadsOwner } = options;
    this.#owner = threadsOwner;
    const tokens = token === undefined ? undefined : new TokenSource(token);
    const owner = { tokens, session, observer };
    this.#table = new ThreadTable({ client, store, busy, owner, cleanupTimeout, logger, hooks, observer });
  }

  /**
   * Sends a message to an agent: as chat.start the first time, as chat.message afterwards. If the agent has lost the
   * chat, the message is sent once more in a new one; the answer then has `restarted: true`.
   *
   * @throws ArcError if the agent answers with an error, or gives no answer
   * @throws AbortError if the chat is ended before the answer has arrived, or if the session of the relay has ended
   * @throws TypeError that begins with the name of the argument that is wrong
   * @throws the signal's reason if the signal aborts
   */
  sendToAgent(options: SendOptions & { stream: true }): Promise<ArcStream>;
  sendToAgent(options: SendOptions): Promise<ArcResponse>;
  async sendToAgent(options: SendOptions): Promise<unknown> {
    checkSend(options);
    if (this.#owner?.hasEndedChats) throw new DOMException('The session has ended', 'AbortError');
    const { signal, ...request } = options;
    const answer = new Answer(request.stream === true, signal);
    return answer.from(() => this.dispatch(request, answer)).promise;
  }

  /** As `sendToAgent`, with a listener for the answer. It is called after `dispatch` has returned. @internal */
  dispatch(request: SendRequest, listener: SendListener): Send {
    return this.#table.dispatch(request, listener);
  }

  /** The id of the chat with an agent, known as soon as its chat.start is sent. Undefined if there is none. */
  getThreadId(agentId: string, contextId?: string): string | undefined {
    return this.#table.store.get(threadKey(agentId, contextId))?.chatId;
  }

  /** Whether there is a chat with an agent. */
  hasThread(agentId: string, contextId?: string): boolean {
    return this.getThreadId(agentId, contextId) !== undefined;
  }

  /** Takes over a chat that was started elsewhere: the next send is a chat.message in it. */
  storeThreadId(agentId: string, chatId: string, contextId?: string): void {
    checkId('agentId', agentId);
    checkId('chatId', chatId);
    checkText('contextId', contextId);
    this.#table.adoptThread({ agentId, contextId, chatId });
  }

  /** Forgets a thread without ending its chat. Returns the id of that chat. */
  removeThreadId(agentId: string, contextId?: string): string | undefined {
    const key = threadKey(agentId, contextId);
    const entry = this.#table.store.get(key);
    if (entry !== undefined) this.#table.removeThread(entry);
    return entry?.chatId;
  }

  /** Copies of all threads, by their keys. @internal */
  exportThreads(): Record<string, ThreadEntry> {
    const entries = Array.from(this.#table.store.values(), (entry) => ({ ...entry }));
    return Object.fromEntries(entries.map((entry) => [threadKey(entry.agentId, entry.contextId), entry]));
  }

  /**
   * Takes over threads of another manager. No chat is started; those that it was ending are ended, which is all
   * that the observer is told. @internal
   */
  importThreads(entries: Record<string, ThreadEntry>): void {
    for (const entry of Object.values(entries)) {
      if (entry.ending) this.#table.endChat({ ...entry });
      else this.#table.setThread(threadKey(entry.agentId, entry.contextId), { ...entry });
    }
  }

  /** The ids of the agents with threads, each once. */
  getAllAgents(): string[] {
    return [...new Set(Array.from(this.#table.store.values(), (thread) => thread.agentId))];
  }

  /** How many threads there are. */
  get threadCount(): number {
    return this.#table.store.size;
  }

  /**
   * Removes the sends that were never begun, those of each thread oldest first, so that they can be sent elsewhere.
   * Their listeners are not called any more. @internal
   */
  takeWaiting(isWanted: (send: Send) => boolean = () => true): Send[] {
    return this.#table.takeWaiting(isWanted);
  }

  /** How many sends run or wait, those of the application itself included. @internal */
  get sendCount(): number {
    return this.#table.sends.length;
  }

  /** Cancels all of them. @internal */
  cancelSends(): void {
    for (const send of this.#table.sends) send.cancel();
  }

  /** How many chats are being ended, those of cancelled and failed starts included. @internal */
  get endingCount(): number {
    return this.#table.endingCount;
  }

  /** Resolves when the chats that are being ended are ended. @internal */
  whenEnded(): Promise<void> {
    return this.#table.whenEnded();
  }

  /** Forgets all threads without ending their chats. */
  clear(): void {
    // One by one, so that the observer is told of each.
    for (const entry of [...this.#table.store.values()]) this.#table.removeThread(entry);
    this.#table.store.clear();
  }

  /** Another process has the threads now. Sends that run can be cancelled, and no chat is ended for them. @internal */
  disown(): void {
    this.#table.disown();
  }

  /**
   * Ends the chat with an agent. Sends of that thread that run or wait are cancelled. The thread is forgotten at once:
   * the next send starts a new chat.
   * @returns the agent's answer to chat.end; undefined if there was no chat, or the agent had lost it
   * @throws ArcError if chat.end did not succeed within `cleanupTimeout`
   */
  async endChat(agentId: string, options: EndChatOptions = {}): Promise<ArcResponse<ChatEndResult> | undefined> {
    checkId('agentId', agentId);
    checkText('contextId', options.contextId);
    checkText('traceId', options.traceId);
    const outcome = await this.endThread(agentId, options);
    if (outcome !== undefined && !outcome.ok) throw outcome.error;
    return outcome?.response;
  }

  /** As `endChat`, but resolves to the outcome, and never rejects. @internal */
  endThread(agentId: string, options: EndChatOptions): Promise<ChatOutcome | undefined> {
    return this.#table.endThread(threadKey(agentId, options.contextId), options);
  }

  /**
   * Ends all chats side by side; call it when the connection is gone. Sends that run or wait are cancelled. Waits for
   * chats that are being ended already, too. Resolves to one outcome for each thread, also if a chat could not be
   * ended. The ThreadManager can be used again afterwards.
   */
  async endAllChats(options: EndAllOptions = {}): Promise<ChatOutcome[]> {
    checkTimeout('timeout', options.timeout);
    return this.#table.endAll(options, options.timeout);
  }

  /** Alias of `endAllChats`. */
  cleanupAll(options?: EndAllOptions): Promise<ChatOutcome[]> {
    return this.endAllChats(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.endAllChats();
  }
}
