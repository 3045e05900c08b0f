import type {
  ArcMessage,
  ArcMethod,
  ChatEndResult,
  TaskPriority,
  TaskResult,
  TaskSendResult,
  TaskSubscribeResult,
} from '@arc/thread-protocol';
import { Answer } from './answer.js';
import type { EndpointState } from './breaker.js';
import { Call, type CallListener, type CallOwner, type CallRequest } from './call.js';
import { type ArcClientOptions, type ClientConfig, check, isNumber, readClientOptions } from './options.js';
import type { ArcResponse } from './response.js';
import type { ArcStream } from './stream.js';

export type { ArcClientOptions } from './options.js';

/** Options of every call. Times are milliseconds. */
export interface CallOptions {
  /** ARC's `traceId`. Default: none. */
  traceId?: string | undefined;
  /** Aborts the call: it rejects with the signal's reason, and the connection is closed. */
  signal?: AbortSignal | undefined;
  /** Default: the client's `timeout`. */
  timeout?: number | undefined;
  /** Default: the client's `streamIdleTimeout`. */
  streamIdleTimeout?: number | undefined;
  /** Default: the client's `streamTimeout`. */
  streamTimeout?: number | undefined;
  /** Default: the client's `retries`. */
  retries?: number | undefined;
}

/** The names of those that are numbers. */
const NUMBERS = ['timeout', 'streamIdleTimeout', 'streamTimeout', 'retries'] as const;

/** `client.chat.start`: the first message of a chat. */
export interface ChatStartOptions extends CallOptions {
  /** The agent's id. */
  targetAgent: string;
  /** The first message. */
  initialMessage: ArcMessage;
  /** The chat's id, chosen by the client; without it the agent makes one. */
  chatId?: string | undefined;
  /** Passed to the agent. Default: none. */
  metadata?: Record<string, unknown> | undefined;
  /** Asks for the answer piece by piece. Default false. */
  stream?: boolean | undefined;
}

/** `client.chat.message`: another message of a chat. */
export interface ChatMessageOptions extends CallOptions {
  /** The agent's id. */
  targetAgent: string;
  /** The chat, as the answer to chat.start named it. */
  chatId: string;
  /** The message. */
  message: ArcMessage;
  /** Asks for the answer piece by piece. Default false. */
  stream?: boolean | undefined;
}

/** `client.chat.end`. */
export interface ChatEndOptions extends CallOptions {
  /** The agent's id. */
  targetAgent: string;
  /** The chat, as the answer to chat.start named it. */
  chatId: string;
  /** Why the chat ends, for the agent. Default: none. */
  reason?: string | undefined;
}

/** `client.task.create`. */
export interface TaskCreateOptions extends CallOptions {
  /** The agent's id. */
  targetAgent: string;
  /** What is to be done. */
  initialMessage: ArcMessage;
  /** Default: the agent decides. */
  priority?: TaskPriority | undefined;
  /** Passed to the agent. Default: none. */
  metadata?: Record<string, unknown> | undefined;
}

/** Which task a method of `client.task` is about. */
export interface TaskOptions extends CallOptions {
  /** The agent's id. */
  targetAgent: string;
  /** The task, as the answer to task.create named it. */
  taskId: string;
}

type Streaming = { stream: true };

/**
 * The `chat.*` methods. Each rejects with an `ArcError`: the agent's own, or what kept its answer from coming; with the
 * reason of `signal` where that aborts; and with a TypeError where an option is wrong.
 */
export interface ChatMethods {
  /** Starts a chat. With `stream: true` it resolves to the stream of the answer, else to the whole answer. */
  start(options: ChatStartOptions & Streaming): Promise<ArcStream>;
  start(options: ChatStartOptions): Promise<ArcResponse>;
  /** Sends a message in a chat. Resolves as `start` does. */
  message(options: ChatMessageOptions & Streaming): Promise<ArcStream>;
  message(options: ChatMessageOptions): Promise<ArcResponse>;
  /** Ends a chat, which the agent then forgets. */
  end(options: ChatEndOptions): Promise<ArcResponse<ChatEndResult>>;
}

/** The `task.*` methods, for work that outlives a request. They reject as those of `ChatMethods` do. */
export interface TaskMethods {
  /** Creates a task. Resolves as soon as the agent has accepted it, not when it is done. */
  create(options: TaskCreateOptions): Promise<ArcResponse<TaskResult>>;
  /** Answers a task that waits for input. */
  send(options: TaskOptions & { message: ArcMessage }): Promise<ArcResponse<TaskSendResult>>;
  /** The task's state, with its messages and artifacts if they are requested. Default: without. */
  info(
    options: TaskOptions & { includeMessages?: boolean; includeArtifacts?: boolean },
  ): Promise<ArcResponse<TaskResult>>;
  /** Cancels a task. */
  cancel(options: TaskOptions & { reason?: string }): Promise<ArcResponse<TaskResult>>;
  /**
   * Has the agent post notifications of the task to `callbackUrl`; `createNotificationHandler` receives them there.
   * `events` are names of `TaskEvent`. Default: all of them.
   */
  subscribe(
    options: TaskOptions & { callbackUrl: string; events?: string[] },
  ): Promise<ArcResponse<TaskSubscribeResult>>;
}

/** A client of ARC agents: many agents, one endpoint or several. Safe to share between all connections of a process. */
export class ArcClient {
  /** Chats: `start`, `message`, `end`. */
  readonly chat: ChatMethods;
  /** Tasks: `create`, `send`, `info`, `cancel`, `subscribe`. */
  readonly task: TaskMethods;
  readonly #config: ClientConfig;

  /** @throws TypeError that names the option that is wrong */
  constructor(options: ArcClientOptions) {
    this.#config = readClientOptions(options);
    this.chat = this.#chatMethods();
    this.task = this.#taskMethods();
  }

  /** Makes a call whose answer goes to a listener, and starts it. @internal */
  call(request: CallRequest, listener: CallListener, owner?: CallOwner): Call {
    return this.prepareCall(request, listener, owner).start();
  }

  /** As `call`, but the call is started by its `start`, which calls functions of the application. @internal */
  prepareCall(request: CallRequest, listener: CallListener, owner?: CallOwner): Call {
    return new Call(this.#config, request, listener, owner);
  }

  /** The state of each endpoint, as its circuit breaker sees it. Endpoints that do not fail may be missing. */
  endpoints(): EndpointState[] {
    return this.#config.endpoints.states();
  }

  /** Aborts all calls and closes all connections. Calls that are under way reject. */
  async close(): Promise<void> {
    const { deadlines, endpoints } = this.#config;
    endpoints.isClosed = true;
    for (const call of deadlines.all()) call.abandon();
    deadlines.stop();
    await endpoints.destroy();
  }

  #ask(
    method: ArcMethod,
    options: CallOptions & { targetAgent: string; stream?: boolean | undefined },
  ): Promise<never> {
    const { targetAgent, traceId, signal, timeout, streamIdleTimeout, streamTimeout, retries, ...params } = options;
    check(typeof targetAgent === 'string' && targetAgent !== '', 'targetAgent', 'must be the id of an agent');
    check(traceId === undefined || typeof traceId === 'string', 'traceId', 'must be a string');
    for (const name of NUMBERS) {
      check(options[name] === undefined || isNumber(options[name], 0), name, 'must be a number of at least 0');
    }
    const answer = new Answer(options.stream === true, signal);
    const limits = { timeout, streamIdleTimeout, streamTimeout, retries };
    answer.from(() => this.call({ method, targetAgent, traceId, params, ...limits }, answer));
    return answer.promise as Promise<never>;
  }

  #chatMethods(): ChatMethods {
    return {
      start: async (options: ChatStartOptions) => this.#ask('chat.start', options),
      message: async (options: ChatMessageOptions) => this.#ask('chat.message', options),
      end: async (options: ChatEndOptions) => this.#ask('chat.end', options),
    };
  }

  #taskMethods(): TaskMethods {
    return {
      create: async (options) => this.#ask('task.create', options),
      send: async (options) => this.#ask('task.send', options),
      info: async (options) => this.#ask('task.info', options),
      cancel: async (options) => this.#ask('task.cancel', options),
      subscribe: async (options) => this.#ask('task.subscribe', options),
    };
  }
}
