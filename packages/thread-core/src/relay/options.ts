import type { IncomingMessage } from 'node:http';
import { ArcClient, type ArcClientOptions } from '../client/arc-client.js';
import { guardLogger, type Logger, silentLogger } from '../logger.js';
import type { ChatOutcome } from '../threads/ending.js';
import type { ThreadEntry } from '../threads/store.js';
import type { BusyPolicy } from '../threads/thread-queue.js';
import { LONGEST_TIME } from '../values.js';

import type { MessageFrame } from './frames.js';
import { type OriginCheck, parseOrigin } from './origin.js';
import type { RefusalReport } from './refusal.js';
import type { Session } from './session.js';

type MaybePromise<T> = T | Promise<T>;

/** What the relay tells of. A hook that throws is logged, and changes nothing. */
export interface RelayHooks {
  /** A connection was let in. */
  onOpen?(session: Session): void;
  /** A connection was refused, before the upgrade or after it. */
  onRefuse?(refusal: RefusalReport): void;
  /** A connection is gone and its chats are ended, or could not be. */
  onClose?(session: Session, outcomes: ChatOutcome[]): void;
  /** A chat.start is sent. */
  onStart?(session: Session, thread: ThreadEntry): void;
  /** A chat.start is sent in place of a chat that the agent had lost. */
  onRestart?(session: Session, thread: ThreadEntry): void;
  /** A chat was ended, or could not be. */
  onEnd?(session: Session, outcome: ChatOutcome): void;
  /** A send has its last frame. */
  onSend?(session: Session, send: SendSummary): void;
}

/** The frame that ended a send. */
export type SendState = 'response' | 'done' | 'error' | 'cancelled';

/** How a send ended. */
export interface SendSummary {
  /** The message, as the client sent it. */
  frame: MessageFrame;
  state: SendState;
  /** The agent had lost the chat, and was answering in a new one. */
  restarted: boolean;
  /** Where the state is `error`: what happened, of which the client was not told all. */
  error: unknown;
}

/** Times are milliseconds, sizes bytes. */
export interface RelayOptions {
  /** The client to the agents; it is closed by its owner. Without it one is made of the next five, and closed with the relay. */
  client?: ArcClient | undefined;
  endpoint?: ArcClientOptions['endpoint'] | undefined;
  /**
   * The token for the agents: a string, or a function that gives one and is asked again when an agent refuses it. A
   * function that takes the session is asked for each connection.
   */
  token?: string | ((session: Session) => MaybePromise<string>) | undefined;
  requestAgent?: ArcClientOptions['requestAgent'];
  headers?: ArcClientOptions['headers'];
  dispatcher?: ArcClientOptions['dispatcher'];

  /** The agents that clients may talk to: ids, or a function that decides. Others get -44002. Default: all. */
  agents?: readonly string[] | ReadonlySet<string> | ((agentId: string) => boolean) | undefined;
  /** Whether this user may send this frame to this agent; -44002 if not. Default: yes. */
  authorize?: ((identity: unknown, agentId: string, frame: MessageFrame) => MaybePromise<boolean>) | undefined;
  /** Chooses the agent of a frame that names none. Default: such frames are -32600. */
  route?: ((frame: MessageFrame, session: Session) => MaybePromise<string | undefined>) | undefined;
  /**
   * Gives the identity of a connection. Null, undefined or false refuses it with 401, a throw with
   * its `statusCode` and, below 500, its message.
   * `context` is the framework's own idea of the request: Fastify's request, Express's req, Koa's ctx.
   */
  authenticate?: ((request: IncomingMessage, context: unknown) => unknown) | undefined;
  /** Time for `authenticate` to settle before the connection is refused with 503, in ms. 0: no limit. Default 10,000. */
  authenticateTimeout?: number | undefined;
  /**
   * Hosts that clients may name in their Host header, with or without a port; a name without a port stands for every
   * port. Others are refused with 403, before anything else is asked. It protects a server on a loopback address from
   * DNS rebinding: a web page whose own name is made to point to 127.0.0.1. Default: all.
   */
  allowedHosts?: readonly string[] | undefined;
  /**
   * Origins of pages beside the server's own, such as `https://example.com` or `capacitor://localhost`, or a function
   * that decides alone. Clients that send no Origin are accepted.
   */
  allowedOrigins?: readonly string[] | OriginCheck | undefined;
  /**
   * Take the server's own host from X-Forwarded-Host, where a proxy in front of it sets that header. In a framework, set
   * the framework's own option instead. Default false.
   */
  trustProxy?: boolean | undefined;
  /**
   * The subprotocols that are spoken here. The first that a client offers of them is selected; no other is ever echoed,
   * because clients offer tokens there. A browser closes a connection of whose offers none was selected: a page that
   * offers a token has to offer one of these, too. Default `['arc-thread.v1']`.
   */
  protocols?: readonly string[] | undefined;
  /**
   * How connections are refused: `status` answers the upgrade with an HTTP status, `close` accepts it and closes with
   * 4401, 4403 or 1013, because browsers cannot see an HTTP status. Default `status`.
   */
  refuseWith?: 'status' | 'close' | undefined;

  /** Ask for streams where a frame does not say. Default false. */
  stream?: boolean | undefined;
  /** `frames` wraps a whole answer in a `response` frame, `bare` sends the ARC envelope alone. Default `frames`. */
  replies?: 'frames' | 'bare' | undefined;
  /** What a new send does where one of the same thread still runs. Default `queue`. */
  busy?: BusyPolicy | undefined;

  /** Bytes of a frame from a client; a longer one closes the connection with 1009. Default 1 MiB. */
  maxFrameBytes?: number | undefined;
  /** Sends of one session that run or wait; one more is -44007. Default 32. */
  maxPending?: number | undefined;
  /** Threads of one session; one more is -44007. Default 64. */
  maxThreads?: number | undefined;
  /** Sessions at once; one more is refused with 503 or 1013. Default: no limit. */
  maxSessions?: number | undefined;
  /**
   * Objects and arrays that may stand in one another in a message frame, the frame included; one more is -32600.
   * Default 64.
   */
  maxFrameDepth?: number | undefined;
  /** Bytes that wait for a slow reader before its agents' answers are no longer read. Default 1 MiB. */
  maxBufferedBytes?: number | undefined;
  /**
   * Frames a second that one session may send: a bucket of so many, into which as many flow each second. One more is
   * -44007. Default: no limit.
   */
  frameRate?: number | undefined;
  /** Frames in a row that are not valid, or refused, before the connection is closed with 4429. Default 16. */
  maxBadFrames?: number | undefined;

  /** Between two pings; a peer that sends nothing until the next is dropped. 0: none. Default 25,000. */
  heartbeat?: number | undefined;
  /** Without a frame either way and without a running send, before 4408. 0: for ever. Default 0. */
  idleTimeout?: number | undefined;
  /** To the first byte of a stream, or the end of any other answer, before -41006. 0: for ever. Default 60,000. */
  sendTimeout?: number | undefined;
  /** Between two chunks of a stream before -43104. 0: for ever. Default 60,000. */
  streamIdleTimeout?: number | undefined;
  /** For a whole stream, from its first byte to its last, before -43104. 0: for ever. Default 0. */
  streamTimeout?: number | undefined;
  /** For a slow reader to come below `maxBufferedBytes` before the connection is closed. 0: for ever. Default 60,000. */
  stalledTimeout?: number | undefined;
  /**
   * What the end of a connection does to its sends that run or wait: `cancel` stops the agents at once, `finish` lets
   * them answer, to nobody, before the chats are ended. Default `cancel`.
   */
  onDisconnect?: 'cancel' | 'finish' | undefined;
  /** For sends to finish when the relay is closed. Default 5,000. */
  drainTimeout?: number | undefined;
  /** For ending the chats of a session that is gone, retries included. Default 5,000. */
  cleanupTimeout?: number | undefined;

  /** Default: nothing is logged. */
  logger?: Logger | undefined;
  hooks?: RelayHooks | undefined;
}

/** Default, least and greatest value of the options that are numbers. */
const NUMBERS = {
  maxFrameBytes: [1024 * 1024, 1],
  maxPending: [32, 1],
  maxThreads: [64, 1],
  maxFrameDepth: [64, 2],
  maxSessions: [Number.POSITIVE_INFINITY, 1],
  maxBufferedBytes: [1024 * 1024, 1],
  frameRate: [Number.POSITIVE_INFINITY, 1],
  maxBadFrames: [16, 1],
  authenticateTimeout: [10_000, 0, LONGEST_TIME],
  heartbeat: [25_000, 0, LONGEST_TIME],
  idleTimeout: [0, 0, LONGEST_TIME],
  sendTimeout: [60_000, 0, LONGEST_TIME],
  streamIdleTimeout: [60_000, 0, LONGEST_TIME],
  streamTimeout: [0, 0, LONGEST_TIME],
  stalledTimeout: [60_000, 0, LONGEST_TIME],
  drainTimeout: [5000, 0, LONGEST_TIME],
  cleanupTimeout: [5000, 0, LONGEST_TIME],
} as const satisfies Partial<Record<keyof RelayOptions, readonly [number, number, number?]>>;

type NumberOption = keyof typeof NUMBERS;

/** The options with their defaults, checked. */
export type RelayConfig = Readonly<
  Record<NumberOption, number> &
    Pick<RelayOptions, 'authorize' | 'route' | 'authenticate' | 'allowedOrigins' | 'allowedHosts'> &
    Required<
      NoUndefined<
        Pick<
          RelayOptions,
          'client' | 'stream' | 'busy' | 'onDisconnect' | 'logger' | 'hooks' | 'trustProxy' | 'refuseWith' | 'protocols'
        >
      >
    > & {
      /** The client was made here, and is closed with the relay. */
      ownsClient: boolean;
      sessionToken: ((session: Session) => MaybePromise<string>) | undefined;
      isAgentAllowed: ((agentId: string) => boolean) | undefined;
      bare: boolean;
    }
>;

type NoUndefined<T> = { [Key in keyof T]: Exclude<T[Key], undefined> };

const HOOKS: readonly string[] = [
  'onOpen',
  'onRefuse',
  'onClose',
  'onStart',
  'onRestart',
  'onEnd',
  'onSend',
] satisfies (keyof RelayHooks)[];

/** What each other option must be. */
const CHECKS: Record<Exclude<keyof RelayOptions, NumberOption>, [(value: unknown) => boolean, string]> = {
  client: [(value) => value instanceof ArcClient, 'must be an ArcClient'],
  endpoint: [() => true, ''],
  token: [(value) => typeof value === 'string' || isFunction(value), 'must be a string or a function'],
  requestAgent: [() => true, ''],
  headers: [() => true, ''],
  dispatcher: [() => true, ''],
  agents: [
    (value) => isFunction(value) || isStrings(value instanceof Set ? [...value] : value),
    'must be an array or a Set of agent ids, or a function',
  ],
  authorize: [isFunction, 'must be a function'],
  route: [isFunction, 'must be a function'],
  authenticate: [isFunction, 'must be a function'],
  allowedOrigins: [
    (value) => isFunction(value) || (isStrings(value) && value.every(isOrigin)),
    'must be an array of origins such as https://example.com, or a function; patterns with * are for a function',
  ],
  allowedHosts: [
    (value) => isStrings(value) && value.every(isHost),
    'must be an array of host names such as localhost or 127.0.0.1:3000, without a scheme, a path or *',
  ],
  protocols: [
    (value) => isStrings(value) && value.every((name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name)),
    'must be an array of names of subprotocols',
  ],
  trustProxy: [(value) => typeof value === 'boolean', 'must be true or false'],
  refuseWith: [(value) => value === 'status' || value === 'close', 'must be "status" or "close"'],
  stream: [(value) => typeof value === 'boolean', 'must be true or false'],
  replies: [(value) => value === 'frames' || value === 'bare', 'must be "frames" or "bare"'],
  busy: [
    (value) => ['queue', 'parallel', 'reject', 'interrupt'].includes(value as string),
    'must be "queue", "parallel", "reject" or "interrupt"',
  ],
  onDisconnect: [(value) => value === 'cancel' || value === 'finish', 'must be "cancel" or "finish"'],
  logger: [
    (value) => ['debug', 'info', 'warn', 'error'].every((level) => isFunction(Object(value)[level])),
    'must have the methods debug, info, warn and error',
  ],
  hooks: [
    (value) => typeof value === 'object' && value !== null && Object.entries(value).every(isHook),
    `must be an object of functions: ${HOOKS.join(', ')}`,
  ],
};

/** @throws TypeError that names the option that is wrong */
export function readOptions(options: RelayOptions): RelayConfig {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (Object.hasOwn(NUMBERS, name)) {
      const [, least, most = Number.POSITIVE_INFINITY] = NUMBERS[name as NumberOption];
      const isRight = typeof value === 'number' && value >= least && value <= most;
      if (!isRight)
        throw wrong(name, `must be a number from ${least}${most === Number.POSITIVE_INFINITY ? '' : ` to ${most}`}`);
      continue;
    }
    if (!Object.hasOwn(CHECKS, name)) throw wrong(name, 'is no option of the relay');
    const [isRight, problem] = CHECKS[name as keyof typeof CHECKS];
    if (!isRight(value)) throw wrong(name, problem);
  }
  const { client, token, agents, endpoint } = options;
  if (client === undefined && endpoint === undefined) throw wrong('endpoint', 'is missing: the URL of the agents');
  if (client !== undefined) {
    for (const name of ['endpoint', 'requestAgent', 'headers', 'dispatcher'] as const) {
      if (options[name] !== undefined) throw wrong(name, 'belongs to the client, which is given');
    }
    if (typeof token === 'string') throw wrong('token', 'belongs to the client, which is given');
  }
  const { requestAgent, headers, dispatcher } = options;
  const logger = guardLogger(options.logger ?? silentLogger);
  const ofSession = typeof token === 'function' && (token.length > 0 || client !== undefined) ? token : undefined;
  const shared = ofSession === undefined ? (token as string | (() => MaybePromise<string>) | undefined) : undefined;
  const numbers = Object.entries(NUMBERS).map(([name, [fallback]]) => [
    name,
    options[name as NumberOption] ?? fallback,
  ]);
  return {
    ...(Object.fromEntries(numbers) as Record<NumberOption, number>),
    client:
      client ??
      new ArcClient({
        endpoint: endpoint as string,
        token: shared,
        requestAgent,
        headers,
        dispatcher,
        logger,
      }),
    ownsClient: client === undefined,
    sessionToken: ofSession,
    isAgentAllowed: agents === undefined || typeof agents === 'function' ? agents : oneOf(agents),
    authorize: options.authorize,
    route: options.route,
    authenticate: options.authenticate,
    allowedOrigins: options.allowedOrigins,
    allowedHosts: options.allowedHosts,
    protocols: options.protocols ?? ['arc-thread.v1'],
    trustProxy: options.trustProxy ?? false,
    refuseWith: options.refuseWith ?? 'status',
    stream: options.stream ?? false,
    bare: options.replies === 'bare',
    busy: options.busy ?? 'queue',
    onDisconnect: options.onDisconnect ?? 'cancel',
    logger,
    hooks: options.hooks ?? {},
  };
}

function oneOf(agents: readonly string[] | ReadonlySet<string>): (agentId: string) => boolean {
  const allowed = new Set(agents);
  return (agentId) => allowed.has(agentId);
}

function wrong(option: string, problem: string): TypeError {
  return new TypeError(`${option}: ${problem}`);
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isOrigin(value: string): boolean {
  return !value.includes('*') && parseOrigin(value) !== undefined;
}

function isHost(value: string): boolean {
  return /^[^\s/*@?#]+$/.test(value) && URL.canParse(`http://${value}`);
}

function isHook([name, value]: [string, unknown]): boolean {
  return HOOKS.includes(name) && (value === undefined || isFunction(value));
}
