import type { ArcClient } from '../client/arc-client.js';
import type { Call, CallListener, CallRequest } from '../client/call.js';
import type { TokenSource } from '../client/token.js';
import type { Logger } from '../logger.js';
import { type ChatOutcome, type EndChatOptions, endChat, type StartInFlight, within } from './ending.js';
import { type BusyPolicy, Lane } from './lane.js';
import { Send, type SendListener, type SendRequest } from './send.js';
import { type ThreadEntry, type ThreadStore, threadKey } from './store.js';
import { tell } from './tell.js';

/** What is told of chats, for counters and logs. A hook that throws is logged, and changes nothing. */
export interface ThreadHooks {
  /** A chat.start is sent. */
  onStart?(thread: ThreadEntry): void;
  /** A chat.start is sent in place of a chat that the agent had lost. */
  onRestart?(thread: ThreadEntry): void;
  /** A chat was ended, or could not be. */
  onEnd?(outcome: ChatOutcome): void;
}

/** Chats that are being ended have bounds of their own, which a timer may overrun by so many milliseconds. */
const GRACE = 250;

/** With more lanes than that, those in which nothing goes on are dropped. */
const MOST_IDLE = 8;

/** So many characters of an agent's text are logged. */
const MOST_LOGGED = 256;

/** What a table has in place of lanes before its first send: nothing is made for a connection that only rests. */
const NO_LANES: Map<string, Lane> = new Map();

/** What it has in place of a store of its own before its first thread. */
const NO_THREADS: ThreadStore = new Map();

/** The state behind a ThreadManager: which threads there are, what goes on in them, and which chats are being ended. */
export class ThreadTable {
  readonly busy: BusyPolicy;
  store: ThreadStore;
  readonly #client: ArcClient;
  readonly #tokens: TokenSource | undefined;
  readonly #cleanupTimeout: number;
  readonly #logger: Logger;
  readonly #hooks: ThreadHooks;
  #lanes: Map<string, Lane> = NO_LANES;
  /** Chats that are being ended; nobody else waits for those of failed and cancelled starts. */
  #endings: Set<Promise<ChatOutcome>> | undefined;

  constructor(
    client: ArcClient,
    store: ThreadStore = NO_THREADS,
    busy: BusyPolicy,
    tokens: TokenSource | undefined,
    cleanupTimeout: number,
    logger: Logger,
    hooks: ThreadHooks,
  ) {
    this.#client = client;
    this.store = store;
    this.busy = busy;
    this.#tokens = tokens;
    this.#cleanupTimeout = cleanupTimeout;
    this.#logger = logger;
    this.#hooks = hooks;
  }

  dispatch(request: SendRequest, listener: SendListener): Send {
    const { agentId, contextId } = request;
    const key = threadKey(agentId, contextId);
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(this, key, agentId, contextId);
      if (this.#lanes === NO_LANES) this.#lanes = new Map();
      this.#lanes.set(key, lane);
    }
    const send = new Send(lane, request, listener);
    lane.add(send);
    return send;
  }

  get endingCount(): number {
    return this.#endings?.size ?? 0;
  }

  call(request: CallRequest, listener: CallListener): Call {
    return this.#client.call(this.#tokens === undefined ? request : { ...request, tokens: this.#tokens }, listener);
  }

  /** Makes a thread known, before its chat.start is sent. */
  open(key: string, entry: ThreadEntry): void {
    this.keep(key, entry);
    this.#tell('onStart', entry);
  }

  keep(key: string, entry: ThreadEntry): void {
    if (this.store === NO_THREADS) this.store = new Map<string, ThreadEntry>();
    this.store.set(key, entry);
  }

  /** The agent has named the chat otherwise, or it became certain, or doubtful, that there is one. */
  update(entry: ThreadEntry, change: Partial<Pick<ThreadEntry, 'chatId' | 'unsettled'>>): void {
    this.#store(() => {
      const isCurrent = this.#isCurrent(entry);
      Object.assign(entry, change);
      if (isCurrent) this.store.set(threadKey(entry.agentId, entry.contextId), entry);
    });
  }

  /** Forgets a thread that has no chat. */
  drop(entry: ThreadEntry): void {
    this.#store(() => {
      if (this.#isCurrent(entry)) this.store.delete(threadKey(entry.agentId, entry.contextId));
    });
  }

  /** The store is the application's own, and may fail: a send must have its answer all the same. */
  #store(change: () => void): void {
    try {
      change();
    } catch (err) {
      this.#logger.error({ err }, 'the store of threads failed');
    }
  }

  /** Forgets a thread that may have a chat, and has that ended. */
  abandon(entry: ThreadEntry): void {
    this.drop(entry);
    void this.#end(entry, {}, this.#cleanupTimeout);
  }

  /** Has a chat ended that is no thread's, in the background. */
  endChat(entry: ThreadEntry): void {
    void this.#end(entry, {}, this.#cleanupTimeout);
  }

  warnOfName({ agentId, contextId, chatId }: ThreadEntry, named: string, message: string): void {
    this.#logger.warn({ agentId, contextId, chatId, named: named.slice(0, MOST_LOGGED) }, message);
  }

  restarted(entry: ThreadEntry): void {
    this.#tell('onRestart', entry);
  }

  /** Nothing runs or waits in a lane any more. It is kept for the next send, where there are few. */
  idle(lane: Lane): void {
    if (this.#lanes.size > MOST_IDLE && this.#lanes.get(lane.key) === lane) this.#lanes.delete(lane.key);
  }

  /** Stops what goes on in a thread, forgets it, and ends its chat. Undefined where there was none. */
  endThread(key: string, options: EndChatOptions, timeout = this.#cleanupTimeout): Promise<ChatOutcome | undefined> {
    const stored = this.store.get(key);
    this.store.delete(key);
    const { entry, start } = this.#stop(key, stored);
    return entry === undefined ? Promise.resolve(undefined) : this.#end(entry, options, timeout, start);
  }

  /** Ends all threads, side by side, and waits for the chats that are being ended already. */
  async endAll(options: EndChatOptions, timeout = this.#cleanupTimeout): Promise<ChatOutcome[]> {
    const keys = new Set<string>();
    for (const { agentId, contextId } of this.store.values()) keys.add(threadKey(agentId, contextId));
    for (const key of this.#lanes.keys()) keys.add(key);
    const outcomes = Promise.all([...keys].map((key) => this.endThread(key, options, timeout)));
    if (this.#endings !== undefined) await within(Promise.all(this.#endings), timeout + GRACE);
    return (await outcomes).filter((outcome) => outcome !== undefined);
  }

  /** Cancels all sends of a thread, but for a chat.start whose chat nobody knows yet: that one is given back. */
  #stop(key: string, stored: ThreadEntry | undefined): { entry: ThreadEntry | undefined; start?: StartInFlight } {
    const lane = this.#lanes.get(key);
    if (lane === undefined) return { entry: stored };
    this.#lanes.delete(key);
    let entry = stored;
    let start: StartInFlight | undefined;
    const sends = lane.close();
    if (sends.length === 0) return { entry };
    const reason = new DOMException('The chat was ended', 'AbortError');
    for (const send of sends) {
      const { starting } = send;
      const isItsStart = starting !== undefined && starting.chatId === stored?.chatId;
      // A store may give copies, but this is the one that changes.
      if (isItsStart) entry = send.wasSent ? starting : undefined;
      // A chat.end that overtakes its chat.start finds nothing, and the chat comes after: so it is waited for.
      if (isItsStart && send.wasSent && !send.isNamed) start = { send, outcome: send.detach(reason) };
      else send.cancel(reason);
    }
    return start === undefined ? { entry } : { entry, start };
  }

  #end(entry: ThreadEntry, options: EndChatOptions, timeout: number, start?: StartInFlight): Promise<ChatOutcome> {
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
    const outcome = await endChat((request, listener) => this.call(request, listener), entry, options, timeout, start);
    const { agentId, contextId, chatId, error: err } = outcome;
    if (!outcome.ok) {
      this.#logger.error({ agentId, contextId, chatId, err }, 'a chat could not be ended, and may still be open');
    } else if (outcome.unconfirmed) {
      this.#logger.info({ agentId, contextId, chatId }, 'a chat whose start was cut off was not found at the agent');
    }
    this.#tell('onEnd', outcome);
    return outcome;
  }

  #tell<Name extends keyof ThreadHooks>(name: Name, about: Parameters<NonNullable<ThreadHooks[Name]>>[0]): void {
    tell(
      () => (this.#hooks[name] as ((about: unknown) => unknown) | undefined)?.call(this.#hooks, about),
      (err) => {
        this.#logger.error({ err }, `the hook ${name} threw`);
      },
    );
  }

  #isCurrent(entry: ThreadEntry): boolean {
    return this.store.get(threadKey(entry.agentId, entry.contextId))?.chatId === entry.chatId;
  }
}
