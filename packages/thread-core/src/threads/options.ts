import { ArcClient } from '../client/arc-client.js';
import type { CallOwner } from '../client/call.js';
import { check } from '../client/options.js';
import type { Token } from '../client/token.js';
import type { Logger } from '../logger.js';
import { isObject, MAX_TIMEOUT_MS } from '../values.js';
import type { ChatOutcome } from './ending.js';
import type { ThreadObserver } from './observer.js';
import type { SendRequest } from './send.js';
import type { ThreadEntry, ThreadStore } from './store.js';
import type { BusyPolicy } from './thread-queue.js';

/** Called when something happens to a chat. A hook that throws or rejects is logged; it changes nothing. */
export interface ThreadHooks {
  /** A chat.start is about to be sent. */
  onStart?(thread: ThreadEntry): void;
  /** A chat.start was sent in place of a chat that the agent had lost. */
  onRestart?(thread: ThreadEntry): void;
  /** A chat was ended, or could not be. */
  onEnd?(outcome: ChatOutcome): void;
}

/** Options of `ThreadManager`. */
export interface ThreadManagerOptions {
  /** Where threads are kept. Default: a `Map`. */
  store?: ThreadStore | undefined;
  /** What becomes of a send while another one of the same thread runs. Default `queue`. */
  busy?: BusyPolicy | undefined;
  /** Bearer token for the requests of this manager. Default: the client's. */
  token?: Token | undefined;
  /** Milliseconds for ending a chat, retries included. Default 5,000. */
  cleanupTimeout?: number | undefined;
  /** Gets an error for each chat that could not be ended. Default: nothing is logged. */
  logger?: Logger | undefined;
  /** Called when something happens to a chat. Default: none. */
  hooks?: ThreadHooks | undefined;
  /** Passed to the client's `headers` function. Default: undefined. */
  session?: unknown;
}

/** Who ends the chats of a manager. @internal */
export interface ThreadsOwner {
  /** Its chats are being ended, or are ended: nobody would end one that is started from now on. */
  readonly hasEndedChats: boolean;
}

/** What the relay adds. @internal */
export interface ObservedOptions extends ThreadManagerOptions {
  observer?: ThreadObserver | undefined;
  threadsOwner?: ThreadsOwner | undefined;
}

/** What a thread manager passes to its table. */
export interface TableOptions {
  client: ArcClient;
  /** The application's, if it has given one. */
  store: ThreadStore | undefined;
  busy: BusyPolicy;
  /** Identifies this session to the client, which several sessions share. */
  owner: CallOwner;
  /** In ms. */
  cleanupTimeout: number;
  logger: Logger;
  hooks: ThreadHooks;
  observer: ThreadObserver | undefined;
}

/** A message for an agent, and when to give it up. */
export interface SendOptions extends SendRequest {
  /** Cancels the send: it rejects with the signal's reason, and the connection to the agent is closed. */
  signal?: AbortSignal | undefined;
}

/** Options of `endAllChats`. */
export interface EndAllOptions {
  /** Sent as `reason` of each chat.end. */
  reason?: string | undefined;
  /** Milliseconds for all of it, retries included. Default: the manager's `cleanupTimeout`. */
  timeout?: number | undefined;
}

const BUSY_POLICIES: readonly BusyPolicy[] = ['queue', 'parallel', 'reject', 'interrupt'];

export function checkTimeout(name: string, value: unknown): void {
  const ok = value === undefined || (typeof value === 'number' && value >= 0 && value <= MAX_TIMEOUT_MS);
  check(ok, name, `must be milliseconds from 0 to ${MAX_TIMEOUT_MS}`);
}

export function checkId(name: string, value: unknown): void {
  check(typeof value === 'string' && value !== '', name, 'must be a non-empty string');
}

export function checkText(name: string, value: unknown): void {
  check(value === undefined || typeof value === 'string', name, 'must be a string');
}

export function checkClient(client: unknown): void {
  check(client instanceof ArcClient, 'client', 'must be an ArcClient');
}

/** @throws TypeError that begins with the name of the option that is wrong */
export function checkManager(client: unknown, options: ThreadManagerOptions): void {
  checkClient(client);
  check(isObject(options), 'options', 'must be an object');
  const { store, busy, token, cleanupTimeout, logger, hooks } = options;
  const isStore =
    store === undefined || (isObject(store) && hasMethods(store, 'get', 'set', 'delete', 'values', 'clear'));
  check(isStore, 'store', 'must be a Map, or an object with get, set, delete, values, clear and size');
  check(
    busy === undefined || BUSY_POLICIES.includes(busy as BusyPolicy),
    'busy',
    `must be one of ${BUSY_POLICIES.join(', ')}`,
  );
  const isToken = token === undefined || typeof token === 'string' || typeof token === 'function';
  check(isToken, 'token', 'must be a string or a function');
  checkTimeout('cleanupTimeout', cleanupTimeout);
  check(
    logger === undefined || (isObject(logger) && hasMethods(logger, 'error')),
    'logger',
    'must have a method `error`',
  );
  const areHooks = (value: object): boolean =>
    (['onStart', 'onRestart', 'onEnd'] as const).every((name) => {
      const hook = (value as Record<string, unknown>)[name];
      return hook === undefined || typeof hook === 'function';
    });
  check(hooks === undefined || (isObject(hooks) && areHooks(hooks)), 'hooks', 'must be an object of functions');
}

/** @throws TypeError that begins with the name of the argument that is wrong */
export function checkSend(options: SendOptions): void {
  check(isObject(options), 'options', 'must be an object');
  const { agentId, message, contextId, traceId, stream, metadata, timeout, signal } = options;
  const { streamIdleTimeout, streamTimeout } = options;
  checkId('agentId', agentId);
  check(isObject(message), 'message', 'must be an object');
  checkText('contextId', contextId);
  checkText('traceId', traceId);
  check(stream === undefined || typeof stream === 'boolean', 'stream', 'must be a boolean');
  check(metadata === undefined || isObject(metadata), 'metadata', 'must be an object');
  checkTimeout('timeout', timeout);
  checkTimeout('streamIdleTimeout', streamIdleTimeout);
  checkTimeout('streamTimeout', streamTimeout);
  check(signal === undefined || signal instanceof AbortSignal, 'signal', 'must be an AbortSignal');
}

function hasMethods(value: object, ...names: string[]): boolean {
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}
