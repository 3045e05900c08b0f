import { ArcClient } from '../client/arc-client.js';
import { type Logger, limitLogger, silentLogger } from '../logger.js';
import { isHttpName, isObject, MAX_TIMEOUT_MS } from '../values.js';
import { parseOrigin } from './admission/origin.js';
import type { MaybePromise, RelayHooks, RelayOptions, ResumeConfig, ResumeOptions, Session } from './api.js';
import { type ClusterConfig, findClusterProblem, findIdentityProblem, readCluster } from './cluster/cluster-options.js';

/** Default, minimum and maximum of the numeric options. */
const NUMBERS = {
  maxFrameBytes: [1024 * 1024, 1],
  maxPending: [32, 1],
  maxPendingBytes: [4 * 1024 * 1024, 1],
  maxThreads: [64, 1],
  maxFrameDepth: [64, 2],
  maxSessions: [Number.POSITIVE_INFINITY, 1],
  maxBufferedBytes: [1024 * 1024, 1],
  frameRate: [Number.POSITIVE_INFINITY, 1],
  maxBadFrames: [16, 1],
  keepAliveTimeout: [1500, 1, MAX_TIMEOUT_MS],
  maxResponseBytes: [16 * 1024 * 1024, 1],
  maxEventBytes: [16 * 1024 * 1024, 1],
  authenticateTimeout: [10_000, 0, MAX_TIMEOUT_MS],
  heartbeat: [25_000, 0, MAX_TIMEOUT_MS],
  idleTimeout: [0, 0, MAX_TIMEOUT_MS],
  maxSessionAge: [0, 0, MAX_TIMEOUT_MS],
  sendTimeout: [60_000, 0, MAX_TIMEOUT_MS],
  streamIdleTimeout: [60_000, 0, MAX_TIMEOUT_MS],
  streamTimeout: [0, 0, MAX_TIMEOUT_MS],
  stalledTimeout: [60_000, 0, MAX_TIMEOUT_MS],
  drainTimeout: [5000, 0, MAX_TIMEOUT_MS],
  cleanupTimeout: [5000, 0, MAX_TIMEOUT_MS],
} as const satisfies Partial<Record<keyof RelayOptions, readonly [number, number, number?]>>;

/** Default, minimum and maximum of the options of `resume`. */
const RESUME_NUMBERS = {
  grace: [120_000, 0, MAX_TIMEOUT_MS],
  maxBufferedBytes: [1024 * 1024, 1],
  maxDetached: [10_000, 0],
  maxDetachedBytes: [256 * 1024 * 1024, 0],
} as const satisfies Record<keyof ResumeOptions, readonly [number, number, number?]>;

type NumberOption = keyof typeof NUMBERS;

/** The options, checked and with their defaults. */
export type RelayConfig = Readonly<
  Record<NumberOption, number> &
    Pick<RelayOptions, 'authorize' | 'route' | 'authenticate' | 'allowedOrigins' | 'allowedHosts'> &
    Required<
      NoUndefined<
        Pick<
          RelayOptions,
          'client' | 'stream' | 'busy' | 'onDisconnect' | 'hooks' | 'trustProxy' | 'refuseWith' | 'protocols'
        >
      >
    > & {
      /** The relay made the client, and closes it. */
      ownsClient: boolean;
      sessionToken: ((session: Session) => MaybePromise<string>) | undefined;
      isAgentAllowed: ((agentId: string) => boolean) | undefined;
      bare: boolean;
      /** Undefined if sessions are not resumed. */
      resume: ResumeConfig | undefined;
      identity: RelayOptions['identity'];
      cluster: ClusterConfig | undefined;
      logger: Logger;
    }
>;

type NoUndefined<T> = { [Key in keyof T]: Exclude<T[Key], undefined> };

/** Options of the client that the relay makes. A client that is given has its own. */
const CLIENT_OPTIONS = [
  'endpoint',
  'token',
  'requestAgent',
  'headers',
  'dispatcher',
  'cookies',
  'keepAliveTimeout',
  'maxResponseBytes',
  'maxEventBytes',
] as const satisfies (keyof RelayOptions)[];

const HOOKS: readonly string[] = [
  'onOpen',
  'onRefuse',
  'onDetach',
  'onResume',
  'onClose',
  'onStart',
  'onRestart',
  'onEnd',
  'onReject',
  'onSendStart',
  'onSend',
  'onTurn',
] satisfies (keyof RelayHooks)[];

/** A check of every other option, and what it must be. */
const CHECKS: Record<Exclude<keyof RelayOptions, NumberOption>, [(value: unknown) => boolean, string]> = {
  client: [(value) => value instanceof ArcClient, 'must be an ArcClient'],
  endpoint: [() => true, ''],
  token: [(value) => typeof value === 'string' || isFunction(value), 'must be a string or a function'],
  sessionToken: [isFunction, 'must be a function'],
  requestAgent: [() => true, ''],
  headers: [() => true, ''],
  dispatcher: [() => true, ''],
  cookies: [(value) => typeof value === 'boolean' || isStrings(value), 'must be true, false, or an array of names'],
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
  trustProxy: [(value) => typeof value === 'boolean', 'must be true or false'],
  refuseWith: [(value) => value === 'status' || value === 'close', 'must be "status" or "close"'],
  protocols: [
    (value) => isStrings(value) && value.every((name) => isHttpName(name)),
    'must be an array of names of subprotocols',
  ],
  resume: [
    (value) => typeof value === 'boolean' || isObject(value),
    `must be true or false, or an object of ${Object.keys(RESUME_NUMBERS).join(', ')}`,
  ],
  identity: [(value) => findIdentityProblem(value) === undefined, 'must be an object of functions: key, save, load'],
  // Checked by `findClusterProblem`, which has a message for each problem.
  cluster: [() => true, ''],
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
      const [, min, max = Number.POSITIVE_INFINITY] = NUMBERS[name as NumberOption];
      const isRight = typeof value === 'number' && value >= min && value <= max;
      if (!isRight) throw wrong(name, `must be a number ${rangeOf(min, max)}`);
      continue;
    }
    if (!Object.hasOwn(CHECKS, name)) throw wrong(name, 'is not an option of the relay');
    const [isRight, problem] = CHECKS[name as keyof typeof CHECKS];
    if (!isRight(value)) throw wrong(name, problem);
  }
  const { client, token, agents, endpoint } = options;
  const problem = options.cluster === undefined ? undefined : findClusterProblem(options.cluster);
  if (problem !== undefined) throw wrong('cluster', problem);
  if (client === undefined && endpoint === undefined) throw wrong('endpoint', 'is missing: the URL of the agents');
  if (client !== undefined) {
    for (const name of CLIENT_OPTIONS) {
      if (options[name] !== undefined) throw wrong(name, 'is an option of the client, which was passed');
    }
  }
  const { requestAgent, headers, dispatcher, cookies, keepAliveTimeout, maxResponseBytes, maxEventBytes } = options;
  if (options.sessionToken !== undefined && hasAuthorization(headers)) {
    throw wrong('headers', 'has authorization beside the token of sessionToken');
  }
  const numbers = Object.entries(NUMBERS).map(([name, [fallback]]) => [
    name,
    options[name as NumberOption] ?? fallback,
  ]);
  const logger = limitLogger(options.logger ?? silentLogger);
  const { maxFrameBytes = NUMBERS.maxFrameBytes[0], maxPendingBytes } = options;
  if (typeof endpoint === 'function' && agents === undefined && options.authorize === undefined) {
    logger.warn(
      {},
      'endpoint is a function of an agent id that clients choose, and neither agents nor authorize is set',
    );
  }
  return {
    ...(Object.fromEntries(numbers) as Record<NumberOption, number>),
    // A frame of the largest size must find room.
    maxPendingBytes: maxPendingBytes ?? Math.max(NUMBERS.maxPendingBytes[0], maxFrameBytes),
    client:
      client ??
      new ArcClient({
        endpoint: endpoint as string,
        token,
        requestAgent,
        headers,
        dispatcher,
        cookies,
        keepAliveTimeout,
        maxResponseBytes,
        maxEventBytes,
        logger,
      }),
    ownsClient: client === undefined,
    sessionToken: options.sessionToken,
    isAgentAllowed: agents === undefined || typeof agents === 'function' ? agents : oneOf(agents),
    authorize: options.authorize,
    route: options.route,
    authenticate: options.authenticate,
    allowedOrigins: options.allowedOrigins,
    allowedHosts: options.allowedHosts,
    trustProxy: options.trustProxy ?? false,
    refuseWith: options.refuseWith ?? 'status',
    protocols: options.protocols ?? ['arc-thread.v1'],
    stream: options.stream ?? false,
    bare: options.replies === 'bare',
    resume: readResume(options),
    identity: options.identity,
    cluster: readCluster(options.cluster, options.identity, options.sessionToken !== undefined),
    busy: options.busy ?? 'queue',
    onDisconnect: options.onDisconnect ?? 'cancel',
    logger,
    hooks: options.hooks ?? {},
  };
}

/** @throws TypeError that names the wrong option of `resume` */
function readResume({ resume, replies }: RelayOptions): ResumeConfig | undefined {
  if (resume === undefined || resume === false) return undefined;
  if (replies === 'bare') throw wrong('resume', 'is not possible with replies: "bare"');
  const given = resume === true ? {} : resume;
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(RESUME_NUMBERS, name)) throw wrong(`resume.${name}`, 'is not an option of resume');
    const [, min, max = Number.POSITIVE_INFINITY] = RESUME_NUMBERS[name as keyof ResumeOptions];
    const isRight = value === undefined || (typeof value === 'number' && value >= min && value <= max);
    if (!isRight) throw wrong(`resume.${name}`, `must be a number ${rangeOf(min, max)}`);
  }
  const { grace, maxBufferedBytes, maxDetached, maxDetachedBytes } = RESUME_NUMBERS;
  return {
    grace: given.grace ?? grace[0],
    maxBufferedBytes: given.maxBufferedBytes ?? maxBufferedBytes[0],
    maxDetached: given.maxDetached ?? maxDetached[0],
    maxDetachedBytes: given.maxDetachedBytes ?? maxDetachedBytes[0],
  };
}

function oneOf(agents: readonly string[] | ReadonlySet<string>): (agentId: string) => boolean {
  const allowed = new Set(agents);
  return (agentId) => allowed.has(agentId);
}

function hasAuthorization(headers: RelayOptions['headers']): boolean {
  return Object.keys(Object(headers)).some((name) => name.toLowerCase() === 'authorization');
}

function rangeOf(min: number, max: number): string {
  return max === Number.POSITIVE_INFINITY ? `of at least ${min}` : `from ${min} to ${max}`;
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
