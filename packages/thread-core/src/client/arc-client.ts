import { randomUUID } from 'node:crypto';
import {
  ARC_CONTENT_TYPE,
  type ArcMessage,
  type ArcMethod,
  type ChatEndResult,
  type TaskPriority,
  type TaskResult,
  type TaskSendResult,
  type TaskSubscribeResult,
} from '@arc/thread-protocol';
import type { Dispatcher } from 'undici';
import { guardLogger, type Logger, silentLogger } from '../logger.js';
import { isObject, quote } from '../values.js';
import { Answer, type ArcResponse } from './answer.js';
import { Breaker, type BreakerOptions, type EndpointState } from './breaker.js';
import { Call, type CallContext, type CallListener, type CallOwner, type CallRequest } from './call.js';
import { Deadlines } from './deadlines.js';
import type { ArcStream } from './stream.js';
import { type Endpoint, Targets } from './target.js';
import { isToken, type Token, TokenSource } from './token.js';

export interface ArcClientOptions {
  /** Where the agents are: an http(s) URL, or a function from agent id to URL. */
  endpoint: Endpoint;
  /**
   * Sent as `Authorization: Bearer …`. A function is asked before the first request, and again, once a call, when an
   * agent answers 401, -44004 or -44005. One that has not answered for 10 s is asked again by the next call. Default:
   * none is sent.
   */
  token?: Token | undefined;
  /** What this side calls itself in `requestAgent`. Default `arc-threads`. */
  requestAgent?: string | undefined;
  /** Milliseconds to the first byte of a stream, or the end of any other answer; 0: for ever. Default 60,000. */
  timeout?: number | undefined;
  /** Milliseconds between two chunks of a stream, keep-alive comments included; 0: for ever. Default 60,000. */
  streamIdleTimeout?: number | undefined;
  /** Milliseconds from a stream's first byte to its last event, time in which it is paused included; 0, the default: for ever. */
  streamTimeout?: number | undefined;
  /**
   * How often a request is sent again that surely did not reach its agent: no connection was made, or it was lost before
   * anything was written to it, or the answer was 429 or 503 with a `Retry-After` that lies within the call's
   * time-out. The time-out runs over all attempts. Default 2; 0: never.
   */
  retries?: number | undefined;
  /** After how many failures in a row an endpoint is not asked for a while, and how long; or false: it always is. */
  breaker?: BreakerOptions | false | undefined;
  /** Sent with every request, after the protocol's own. */
  headers?: Record<string, string> | undefined;
  /** Any undici dispatcher (Agent, ProxyAgent, MockAgent, …). Default: connections of its own. It is closed by its owner. */
  dispatcher?: Dispatcher | undefined;
  /**
   * Connections to each origin at most. An open stream takes one, and an answer that takes long; for all else there are 64.
   * Default 1,024.
   */
  connections?: number | undefined;
  /** Bytes of an answer that is not a stream, or was not asked for as one, at most. Default 16 MiB. */
  maxResponseBytes?: number | undefined;
  /** Bytes of one event of a stream, at most. Default 1 MiB. */
  maxEventBytes?: number | undefined;
  /** Told of faults that no answer shows. Default: nothing is logged. */
  logger?: Logger | undefined;
}

/** What every call takes. */
export interface CallOptions {
  traceId?: string | undefined;
  /** Aborts the call: it rejects with the signal's reason, and the connection is closed. */
  signal?: AbortSignal | undefined;
  /** Each as the client's option of that name, which holds without it. */
  timeout?: number | undefined;
  streamIdleTimeout?: number | undefined;
  streamTimeout?: number | undefined;
  retries?: number | undefined;
}

/** Those of them that are numbers. */
const NUMBERS = ['timeout', 'streamIdleTimeout', 'streamTimeout', 'retries'] as const;

export interface ChatStartOptions extends CallOptions {
  targetAgent: string;
  initialMessage: ArcMessage;
  /** The chat's id, chosen by the client; without it the agent makes one. */
  chatId?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  stream?: boolean | undefined;
}

export interface ChatMessageOptions extends CallOptions {
  targetAgent: string;
  chatId: string;
  message: ArcMessage;
  stream?: boolean | undefined;
}

export interface ChatEndOptions extends CallOptions {
  targetAgent: string;
  chatId: string;
  reason?: string | undefined;
}

export interface TaskCreateOptions extends CallOptions {
  targetAgent: string;
  initialMessage: ArcMessage;
  priority?: TaskPriority | undefined;
  metadata?: Record<string, unknown> | undefined;
}

export interface TaskOptions extends CallOptions {
  targetAgent: string;
  taskId: string;
}

type Streaming = { stream: true };

interface ChatMethods {
  /** Starts a chat. Rejects with an `ArcError`: the agent's own, or what kept its answer from coming. */
  start(options: ChatStartOptions & Streaming): Promise<ArcStream>;
  start(options: ChatStartOptions): Promise<ArcResponse>;
  /** Says something in a chat. */
  message(options: ChatMessageOptions & Streaming): Promise<ArcStream>;
  message(options: ChatMessageOptions): Promise<ArcResponse>;
  /** Ends a chat. */
  end(options: ChatEndOptions): Promise<ArcResponse<ChatEndResult>>;
}

interface TaskMethods {
  create(options: TaskCreateOptions): Promise<ArcResponse<TaskResult>>;
  /** Answers a task that waits for input. */
  send(options: TaskOptions & { message: ArcMessage }): Promise<ArcResponse<TaskSendResult>>;
  info(
    options: TaskOptions & { includeMessages?: boolean; includeArtifacts?: boolean },
  ): Promise<ArcResponse<TaskResult>>;
  cancel(options: TaskOptions & { reason?: string }): Promise<ArcResponse<TaskResult>>;
  subscribe(
    options: TaskOptions & { callbackUrl: string; events?: string[] },
  ): Promise<ArcResponse<TaskSubscribeResult>>;
}

/** A client of ARC agents: many agents, one endpoint or several. Safe to share between all connections of a process. */
export class ArcClient {
  readonly chat: ChatMethods;
  readonly task: TaskMethods;
  readonly #context: CallContext;

  /** @throws TypeError that names the option that is wrong */
  constructor(options: ArcClientOptions) {
    this.#context = makeContext(options);
    this.chat = this.#chatMethods();
    this.task = this.#taskMethods();
  }

  /** Makes a call whose answer is heard by a listener. @internal */
  call(request: CallRequest, listener: CallListener, owner?: CallOwner): Call {
    return new Call(this.#context, request, listener, owner);
  }

  /** How each endpoint does, as the breaker sees it. Those that do not fail are not remembered for ever. */
  endpoints(): EndpointState[] {
    return this.#context.targets.endpoints();
  }

  /** Aborts what runs and closes all connections. Calls that are still waiting reject. */
  async close(): Promise<void> {
    this.#context.targets.closed = true;
    const { deadlines } = this.#context;
    for (const call of deadlines.all()) call.abandon();
    deadlines.stop();
    await this.#context.targets.destroy();
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

type NumberOption =
  | 'timeout'
  | 'streamIdleTimeout'
  | 'streamTimeout'
  | 'retries'
  | 'connections'
  | 'maxResponseBytes'
  | 'maxEventBytes';

function makeContext(options: ArcClientOptions): CallContext {
  const { endpoint, token, requestAgent = 'arc-threads', headers = {}, dispatcher, logger = silentLogger } = options;
  check(endpoint !== undefined && endpoint !== null, 'endpoint', 'is missing: the URL of the agents');
  check(
    token === undefined || typeof token === 'function' || isToken(token),
    'token',
    'must be a string that can be sent in a header, or a function',
  );
  check(typeof requestAgent === 'string' && requestAgent !== '', 'requestAgent', 'must be a string, and not empty');
  check(
    dispatcher === undefined || typeof dispatcher.dispatch === 'function',
    'dispatcher',
    'must be an undici dispatcher',
  );
  check(typeof headers === 'object' && headers !== null, 'headers', 'must be an object of strings');
  for (const [name, value] of Object.entries(headers)) {
    check(isHeader(name, value), 'headers', `has something that cannot be sent, at ${JSON.stringify(name)}`);
  }
  const number = (name: NumberOption, fallback: number, least: number): number => {
    const value = options[name] ?? fallback;
    check(isNumber(value, least), name, `must be a number of at least ${least}`);
    return value;
  };
  const connections = number('connections', 1024, 1);
  const clientOptions = {
    // No limits of time of undici's: a call has its own, and knows what it waits for.
    headersTimeout: 0,
    bodyTimeout: 0,
    // uvicorn closes what rests for five seconds, and does not say so; undici's clock may be a second late.
    keepAliveTimeout: 3000,
  };
  const fixed = Object.entries(headers).flat();
  const prefix = randomUUID();
  let requests = 0;
  let last: { token: string | undefined; headers: string[] } | undefined;
  return {
    targets: new Targets(endpoint, dispatcher, connections, clientOptions, breakerOf(options.breaker)),
    tokens: new TokenSource(token),
    requestAgent: quote(requestAgent),
    timeout: number('timeout', 60_000, 0),
    streamIdleTimeout: number('streamIdleTimeout', 60_000, 0),
    streamTimeout: number('streamTimeout', 0, 0),
    retries: number('retries', 2, 0),
    maxResponseBytes: number('maxResponseBytes', 16 * 1024 * 1024, 1),
    maxEventBytes: number('maxEventBytes', 1024 * 1024, 1),
    logger: guardLogger(logger),
    // Unique without asking for random bytes each time.
    nextRequestId: () => `${prefix}-${++requests}`,
    headers(token) {
      if (last !== undefined && last.token === token) return last.headers;
      const bearer = token === undefined ? [] : ['authorization', `Bearer ${token}`];
      const accept = `${ARC_CONTENT_TYPE}, text/event-stream`;
      last = { token, headers: ['content-type', ARC_CONTENT_TYPE, 'accept', accept, ...bearer, ...fixed] };
      return last.headers;
    },
    deadlines: new Deadlines(),
  };
}

/** @throws TypeError where the option is wrong */
function breakerOf(option: ArcClientOptions['breaker'] = {}): () => Breaker {
  if (option === false) return () => new Breaker(Number.POSITIVE_INFINITY, 0);
  const { failures = 10, pause = 500 } = (isObject(option) ? option : { pause: Number.NaN }) as BreakerOptions;
  check(
    isNumber(failures, 1) && isNumber(pause, 1),
    'breaker',
    'must be false, or an object with `failures` and `pause`, both numbers of at least 1',
  );
  return () => new Breaker(failures, pause);
}

function check(ok: boolean, option: string, problem: string): asserts ok {
  if (!ok) throw new TypeError(`${option}: ${problem}`);
}

function isNumber(value: unknown, least: number): boolean {
  return typeof value === 'number' && value >= least;
}

function isHeader(name: string, value: unknown): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(name) && typeof value === 'string' && /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}
