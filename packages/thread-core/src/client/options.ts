import { randomUUID } from 'node:crypto';
import type { Dispatcher } from 'undici';
import { guardLogger, type Logger, silentLogger } from '../logger.js';
import { isObject, MAX_TIMEOUT_MS, quote } from '../values.js';
import { Breaker, type BreakerOptions } from './breaker.js';
import { ClientLog } from './client-log.js';
import type { CookieFilter } from './cookies.js';
import { Deadlines, type Timed } from './deadlines.js';
import { type EndpointOption, EndpointRegistry } from './endpoint.js';
import { type HeadersOption, RequestHeaders } from './request-headers.js';
import { isToken, type Token, TokenSource } from './token.js';

/** Options of the client. Times are milliseconds, sizes bytes. */
export interface ArcClientOptions {
  /**
   * The agents' address: an http(s) URL, or a function from agent id to URL. The id may come from a user of the relay. A
   * function that builds URLs from it must check it: `../../admin` is an id, too.
   */
  endpoint: EndpointOption;
  /**
   * Sent as `Authorization: Bearer …`. A function is called before the first request, and again, once a call, when an agent
   * answers 401, -44004 or -44005. If it has not answered for 10 s, the next call calls it again. Default: none.
   */
  token?: Token | undefined;
  /** The name of this side in `requestAgent`. Default `arc-threads`. */
  requestAgent?: string | undefined;
  /** To the first byte of a stream, or to the end of any other answer; 0: no limit. Default 60,000. */
  timeout?: number | undefined;
  /** Between two chunks of a stream, keep-alive comments included; 0: no limit. Default 60,000. */
  streamIdleTimeout?: number | undefined;
  /** From a stream's first byte to its last event, pauses included; 0: no limit. Default 0. */
  streamTimeout?: number | undefined;
  /**
   * How often a request is sent again that certainly did not reach its agent: no byte of it was written, or the answer was
   * 429 or 503 with a `Retry-After` that lies within the call's time-out. The time-out covers all attempts. Default 2.
   */
  retries?: number | undefined;
  /** The circuit breaker of each endpoint, or false for none. Default `{ failures: 10, pause: 500 }`. */
  breaker?: BreakerOptions | false | undefined;
  /**
   * Headers of every request, or a function that gives those of one request. They replace the client's own of the same
   * name. `authorization` beside `token` is a TypeError. Default: none.
   */
  headers?: HeadersOption | undefined;
  /**
   * Cookies that an agent sets in a chat are sent with the later requests of that chat, as sticky load balancers need it:
   * all of them, or those with the given names. They are kept with the thread, so this works for a ThreadManager and the
   * relay. Default false.
   */
  cookies?: boolean | readonly string[] | undefined;
  /** Any undici dispatcher (Agent, ProxyAgent, MockAgent, …). Its owner closes it. Default: the client's own connections. */
  dispatcher?: Dispatcher | undefined;
  /**
   * Connections to each origin at most. A stream takes one, and a slow answer; all other requests share 64. From half of
   * them on, only a session that has none at that origin gets one. Default 1,024.
   */
  connections?: number | undefined;
  /**
   * How long an idle connection to an agent is kept, unless the agent says otherwise (`Keep-Alive: timeout=`). It must be
   * less than what the agent's server keeps it: gunicorn closes after 2,000. Default 1,500.
   */
  keepAliveTimeout?: number | undefined;
  /** Size of an answer that is not a stream, or was not requested as one, after decompression. Default 16 MiB. */
  maxResponseBytes?: number | undefined;
  /** Size of one event of a stream, after decompression. Default 16 MiB. */
  maxEventBytes?: number | undefined;
  /** Receives what no answer shows: agents that deviate from the specification, and internal faults. Default: none. */
  logger?: Logger | undefined;
}

/** A call that is under way. */
export interface RunningCall extends Timed {
  /** Fails the call, because its client is closed. */
  abandon(): void;
}

/** The options with their defaults, and what all calls of a client share. */
export interface ClientConfig {
  readonly endpoints: EndpointRegistry;
  readonly tokens: TokenSource;
  /** As JSON. */
  readonly requestAgent: string;
  readonly timeout: number;
  readonly streamIdleTimeout: number;
  readonly streamTimeout: number;
  readonly retries: number;
  readonly maxResponseBytes: number;
  readonly maxEventBytes: number;
  readonly headers: RequestHeaders;
  /** Undefined: cookies are ignored. */
  readonly cookies: CookieFilter | undefined;
  readonly log: ClientLog;
  readonly deadlines: Deadlines<RunningCall>;
  nextRequestId(): string;
}

/** Default, least and largest value of the options that are numbers. */
const NUMBERS = {
  timeout: [60_000, 0],
  streamIdleTimeout: [60_000, 0],
  streamTimeout: [0, 0],
  retries: [2, 0],
  connections: [1024, 1],
  keepAliveTimeout: [1500, 1, MAX_TIMEOUT_MS],
  maxResponseBytes: [16 * 1024 * 1024, 1],
  maxEventBytes: [16 * 1024 * 1024, 1],
} as const satisfies Partial<Record<keyof ArcClientOptions, readonly [number, number, number?]>>;

type NumberOption = keyof typeof NUMBERS;

/** An agent's server may close an idle connection this many milliseconds earlier than its `Keep-Alive` header says. */
const KEEP_ALIVE_MARGIN_MS = 1000;

/** @throws TypeError that names the option that is wrong */
export function readClientOptions(options: ArcClientOptions): ClientConfig {
  const { endpoint, token, requestAgent = 'arc-threads', headers = {}, dispatcher, logger = silentLogger } = options;
  check(endpoint !== undefined && endpoint !== null, 'endpoint', 'is missing: the URL of the agents');
  const isTokenValid = token === undefined || typeof token === 'function' || isToken(token);
  check(isTokenValid, 'token', 'must be a string that can be sent in a header, or a function');
  check(typeof requestAgent === 'string' && requestAgent !== '', 'requestAgent', 'must be a string, and not empty');
  const isDispatcher = dispatcher === undefined || typeof Object(dispatcher).dispatch === 'function';
  check(isDispatcher, 'dispatcher', 'must be an undici dispatcher');
  const isLogger = ['warn', 'error'].every((level) => typeof Object(logger)[level] === 'function');
  check(isLogger, 'logger', 'must have the methods debug, info, warn and error');
  const number = (name: NumberOption): number => {
    const [fallback, least, most] = NUMBERS[name];
    const value = options[name] ?? fallback;
    const range = most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
    check(isNumber(value, least) && !(value > (most ?? value)), name, `must be a number ${range}`);
    return value;
  };
  const requestHeaders = new RequestHeaders(headers);
  check(!(token !== undefined && requestHeaders.hasAuthorization), 'headers', 'has authorization beside a token');
  const connections = number('connections');
  const clientOptions = {
    // A call has its own time-outs, and knows what it waits for.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: number('keepAliveTimeout'),
    keepAliveTimeoutThreshold: KEEP_ALIVE_MARGIN_MS,
  };
  const prefix = randomUUID();
  let requests = 0;
  return {
    endpoints: new EndpointRegistry(endpoint, dispatcher, connections, clientOptions, breakerOf(options.breaker)),
    tokens: new TokenSource(token),
    requestAgent: quote(requestAgent),
    timeout: number('timeout'),
    streamIdleTimeout: number('streamIdleTimeout'),
    streamTimeout: number('streamTimeout'),
    retries: number('retries'),
    maxResponseBytes: number('maxResponseBytes'),
    maxEventBytes: number('maxEventBytes'),
    headers: requestHeaders,
    cookies: cookiesOf(options.cookies),
    log: new ClientLog(guardLogger(logger)),
    deadlines: new Deadlines(),
    // Unique without random bytes for each.
    nextRequestId: () => `${prefix}-${++requests}`,
  };
}

/** @throws TypeError if the option is wrong */
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

/** @throws TypeError if the option is wrong */
function cookiesOf(option: ArcClientOptions['cookies'] = false): CookieFilter | undefined {
  if (typeof option === 'boolean') return option || undefined;
  const isNames = Array.isArray(option) && option.every((name) => typeof name === 'string');
  check(isNames, 'cookies', 'must be true, false, or an array of names');
  return new Set(option);
}

/** @throws TypeError that begins with the name of the option or argument that is wrong */
export function check(ok: boolean, name: string, problem: string): asserts ok {
  if (!ok) throw new TypeError(`${name}: ${problem}`);
}

export function isNumber(value: unknown, least: number): boolean {
  return typeof value === 'number' && value >= least;
}
