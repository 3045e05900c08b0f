import type { ArcClient } from '../client/arc-client.js';
import type { Call, CallListener, CallOwner, CallRequest } from '../client/call.js';
import { invokeHook } from '../hooks.js';
import { guardLogger, type Logger } from '../logger.js';
import { withTimeout } from '../timers.js';
import { type ChatOutcome, type EndChatOptions, endChat, type StartInFlight } from './ending.js';
import { GuardedStore } from './guarded-store.js';
import type { ThreadObserver } from './observer.js';
import type { TableOptions, ThreadHooks } from './options.js';
import { Send, type SendListener, type SendRequest } from './send.js';
import { SendTrace, sendChannel } from './send-trace.js';
import { type ThreadChange, type ThreadEntry, type ThreadStore, threadKey } from './store.js';
import { type BusyPolicy, type QueueOwner, ThreadQueue } from './thread-queue.js';

/** Milliseconds by which ending chats may overrun its time-out: each has its own, and timers are late. */
const TIMEOUT_GRACE_MS = 250;

/** With more queues than this, idle ones are dropped. */
const MAX_IDLE_QUEUES = 8;

/** Characters of an agent's text that are logged. */
const MAX_LOGGED_LENGTH = 256;

/** Agents that were found to have no chat.end, by client. The ids may be chosen by users, so there is a limit. */
const AGENTS_WITHOUT_END = new WeakMap<ArcClient, Set<string>>();
const MAX_AGENTS_WITHOUT_END = 1000;

/** Shared by all tables before their first send, because most connections are idle. */
const NO_QUEUES: Map<string, ThreadQueue> = new Map();

/** Shared by all tables without a store of the application, before their first thread. */
const NO_THREADS: ThreadStore = new Map();

/** The state of a ThreadManager: its threads, their queues, and the chats that are being ended. */
export class ThreadTable implements QueueOwner {
  readonly busy: BusyPolicy;
  store: ThreadStore;
  readonly #client: ArcClient;
  readonly #owner: CallOwner;
  readonly #cleanupTimeout: number;
  readonly #logger: Logger;
  readonly #hooks: ThreadHooks;
  readonly #observer: ThreadObserver | undefined;
  #queues: Map<string, ThreadQueue> = NO_QUEUES;
  /** Another process has the threads: none of their chats is to be ended here. */
  #isDisowned = false;
  /** Includes those of failed and cancelled starts. */
  #endings: Set<Promise<ChatOutcome>> | undefined;

  constructor({ client, store, busy, owner, cleanupTimeout, logger, hooks, observer }: TableOptions) {
    this.#client = client;
    this.store = store === undefined ? NO_THREADS : new GuardedStore(store, guardLogger(logger));
    this.busy = busy;
    this.#owner = owner;
    this.#cleanupTimeout = cleanupTimeout;
    this.#logger = guardLogger(logger);
    this.#hooks = hooks;
    this.#observer = observer;
  }

  dispatch(request: SendRequest, listener: SendListener): Send {
    const { agentId, contextId } = request;
    const key = threadKey(agentId, contextId);
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      queue = new ThreadQueue(this, key, agentId, contextId);
      if (this.#queues === NO_QUEUES) this.#queues = new Map();
      this.#queues.set(key, queue);
    }
    const { session } = this.#owner;
    const trace = sendChannel.hasSubscribers ? new SendTrace(request, listener, session) : undefined;
    const send = new Send(queue, this, request, trace ?? listener, trace);
    queue.add(send);
    trace?.started(send);
    return send;
  }

  /** All sends, those of each thread oldest first. */
  get sends(): Send[] {
    return [...this.#queues.values()].flatMap(({ sends }) => sends);
  }

  /** Removes the sends that were never begun, those of each thread oldest first. */
  takeWaiting(isWanted: (send: Send) => boolean): Send[] {
    return [...this.#queues.values()].flatMap((queue) => queue.takeWaiting(isWanted));
  }

  get endingCount(): number {
    return this.#endings?.size ?? 0;
  }

  /** Resolves when the chats that are being ended are ended. */
  async whenEnded(): Promise<void> {
    await Promise.all(this.#endings ?? []);
  }

  prepareCall(request: CallRequest, listener: CallListener): Call {
    return this.#client.prepareCall(request, listener, this.#owner);
  }

  findThread(key: string): ThreadEntry | undefined {
    return this.store.get(key);
  }

  setThread(key: string, entry: ThreadEntry): void {
    if (this.store === NO_THREADS) this.store = new Map<string, ThreadEntry>();
    this.store.set(key, entry);
  }

  updateThread(entry: ThreadEntry, change: ThreadChange): void {
    const isCurrent = this.#isCurrent(entry);
    const before = this.#observer === undefined ? entry : { ...entry };
    Object.assign(entry, change);
    if (isCurrent) this.store.set(threadKey(entry.agentId, entry.contextId), entry);
    this.#observe(() => {
      // An absent flag is false.
      const hasChanged = (name: keyof ThreadChange): boolean => (before[name] || false) !== (entry[name] || false);
      const isNews = (Object.keys(change) as (keyof ThreadChange)[]).some(hasChanged);
      if (isNews) this.#observer?.onChange?.({ ...entry }, before.chatId);
    });
  }

  /** Makes a chat known that was started elsewhere. */
  adoptThread(entry: ThreadEntry): void {
    const previous = this.store.get(threadKey(entry.agentId, entry.contextId));
    if (previous !== undefined && previous.chatId !== entry.chatId) this.removeThread(previous);
    this.setThread(threadKey(entry.agentId, entry.contextId), entry);
    this.#observe(() => this.#observer?.onAdopted?.({ ...entry }));
  }

  removeThread(entry: ThreadEntry): void {
    this.#forgetThread(entry);
    this.#observe(() => this.#observer?.onRemoved?.({ ...entry }, undefined));
  }

  abandonThread(entry: ThreadEntry): void {
    this.#forgetThread(entry);
    this.endChat(entry);
  }

  #forgetThread(entry: ThreadEntry): void {
    if (this.#isCurrent(entry)) this.store.delete(threadKey(entry.agentId, entry.contextId));
  }

  beforeStart(entry: ThreadEntry): Promise<void> | undefined {
    this.#invokeHook('onStart', entry);
    // The hook may have ended the thread.
    if (this.#observer === undefined || !this.#isCurrent(entry)) return undefined;
    try {
      return this.#observer.beforeStart?.({ ...entry });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  beforeWaiting(): Promise<void> | undefined {
    try {
      return this.#observer?.beforeWaiting?.();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Forgets all threads, and ends no chat from now on: not even that of a chat.start which is cancelled. */
  disown(): void {
    this.#isDisowned = true;
    this.store.clear();
  }

  endChat(entry: ThreadEntry): void {
    const end = (): unknown => this.#isDisowned || this.#beginEnding(entry, {}, this.#cleanupTimeout);
    const confirmed = this.#observer?.beforeEnd?.();
    void (confirmed === undefined ? end() : confirmed.then(end));
  }

  warnOfChatId({ agentId, contextId, chatId }: ThreadEntry, named: string, message: string): void {
    this.#logger.warn({ agentId, contextId, chatId, named: named.slice(0, MAX_LOGGED_LENGTH) }, message);
  }

  onRestarted(entry: ThreadEntry): void {
    this.#invokeHook('onRestart', entry);
  }

  /** A few idle queues are kept for the next send. */
  onIdle(queue: ThreadQueue): void {
    if (this.#queues.size > MAX_IDLE_QUEUES && this.#queues.get(queue.key) === queue) this.#queues.delete(queue.key);
  }

  /** Cancels the sends of a thread, forgets it, and ends its chat. Resolves to undefined if there was none. */
  endThread(key: string, options: EndChatOptions, timeout = this.#cleanupTimeout): Promise<ChatOutcome | undefined> {
    const stored = this.store.get(key);
    this.store.delete(key);
    const { entry, start } = this.#stopQueue(key, stored);
    return entry === undefined ? Promise.resolve(undefined) : this.#beginEnding(entry, options, timeout, start);
  }

  /** Ends all threads side by side, and waits for chats that are being ended already. */
  async endAll(options: EndChatOptions, timeout = this.#cleanupTimeout): Promise<ChatOutcome[]> {
    const keys = new Set<string>();
    for (const { agentId, contextId } of this.store.values()) keys.add(threadKey(agentId, contextId));
    for (const key of this.#queues.keys()) keys.add(key);
    const outcomes = Promise.all([...keys].map((key) => this.endThread(key, options, timeout)));
    if (this.#endings !== undefined) await withTimeout(Promise.all(this.#endings), timeout + TIMEOUT_GRACE_MS);
    return (await outcomes).filter((outcome) => outcome !== undefined);
  }

  /** Cancels all sends of a thread. A chat.start whose chat has no certain id yet is detached, and given back. */
  #stopQueue(key: string, stored: ThreadEntry | undefined): { entry: ThreadEntry | undefined; start?: StartInFlight } {
    const queue = this.#queues.get(key);
    if (queue === undefined) return { entry: stored };
    this.#queues.delete(key);
    let entry = stored;
    let start: StartInFlight | undefined;
    const sends = queue.stop();
    if (sends.length === 0) return { entry };
    const reason = new DOMException('The chat was ended', 'AbortError');
    for (const send of sends) {
      const { starting } = send;
      const isItsStart = starting !== undefined && starting.chatId === stored?.chatId;
      // A store may give copies, but this object is the one that is updated.
      if (isItsStart) entry = send.wasSent ? starting : undefined;
      // A chat.end that overtakes its chat.start would find no chat, which is made afterwards: so the start is awaited.
      if (isItsStart && send.wasSent && !send.isNamed) {
        start = { outcome: send.detach(reason), abort: () => send.abort() };
      } else {
        send.cancel(reason);
      }
    }
    return start === undefined ? { entry } : { entry, start };
  }

  #beginEnding(
    entry: ThreadEntry,
    options: EndChatOptions,
    timeout: number,
    start?: StartInFlight,
  ): Promise<ChatOutcome> {
    const ending = this.#endChat(entry, options, timeout, start);
    this.#endings ??= new Set();
    this.#endings.add(ending);
    void ending.then(() => this.#endings?.delete(ending));
    return ending;
  }

  async #endChat(
    entry: ThreadEntry,
    options: EndChatOptions,
    timeout: number,
    start?: StartInFlight,
  ): Promise<ChatOutcome> {
    const call = (...about: [CallRequest, CallListener]): unknown => this.prepareCall(...about).start();
    const outcome = await endChat(call, entry, options, timeout, start);
    const { agentId, contextId, chatId, error: err } = outcome;
    if (outcome.unsupported && isFirstWithoutEnd(this.#client, agentId)) {
      this.#logger.info({ agentId }, 'the agent has no chat.end: its chats count as ended');
    }
    if (!outcome.ok) {
      this.#logger.error({ agentId, contextId, chatId, err }, 'orphaned chat: it could not be ended');
    } else if (outcome.unconfirmed) {
      this.#logger.info(
        { agentId, contextId, chatId },
        'unconfirmed chat: its chat.start was cut off, and the agent did not have it',
      );
    }
    this.#invokeHook('onEnd', outcome);
    this.#observe(() => this.#observer?.onRemoved?.({ ...entry }, outcome));
    return outcome;
  }

  #observe(observe: () => unknown): void {
    if (this.#observer === undefined) return;
    invokeHook(observe, (err) => {
      this.#logger.error({ err }, 'the record of a thread could not be kept');
    });
  }

  #invokeHook<Name extends keyof ThreadHooks>(name: Name, about: Parameters<NonNullable<ThreadHooks[Name]>>[0]): void {
    invokeHook(
      () => (this.#hooks[name] as ((about: unknown) => unknown) | undefined)?.call(this.#hooks, about),
      (err) => {
        this.#logger.error({ err }, `the hook ${name} failed`);
      },
    );
  }

  #isCurrent(entry: ThreadEntry): boolean {
    return this.store.get(threadKey(entry.agentId, entry.contextId))?.chatId === entry.chatId;
  }
}

/** Whether it is the first time that an agent is found to have no chat.end. */
function isFirstWithoutEnd(client: ArcClient, agentId: string): boolean {
  const agents = AGENTS_WITHOUT_END.get(client) ?? new Set();
  AGENTS_WITHOUT_END.set(client, agents);
  if (agents.has(agentId) || agents.size >= MAX_AGENTS_WITHOUT_END) return false;
  agents.add(agentId);
  return true;
}
