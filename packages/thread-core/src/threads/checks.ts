import { ArcClient } from '../client/arc-client.js';
import { isObject, LONGEST_TIME } from '../values.js';
import type { BusyPolicy } from './lane.js';
import type { SendOptions, ThreadManagerOptions } from './thread-manager.js';

const BUSY_POLICIES: readonly BusyPolicy[] = ['queue', 'parallel', 'reject', 'interrupt'];

/** @throws TypeError that names what is wrong */
function check(ok: boolean, name: string, problem: string): asserts ok {
  if (!ok) throw new TypeError(`${name}: ${problem}`);
}

export function checkTimeout(name: string, value: unknown): void {
  const ok = value === undefined || (typeof value === 'number' && value >= 0 && value <= LONGEST_TIME);
  check(ok, name, `must be a number of milliseconds, from 0 to ${LONGEST_TIME}`);
}

export function checkId(name: string, value: unknown): void {
  check(typeof value === 'string' && value !== '', name, 'must be a string, and not empty');
}

export function checkText(name: string, value: unknown): void {
  check(value === undefined || typeof value === 'string', name, 'must be a string');
}

export function checkClient(client: unknown): void {
  check(client instanceof ArcClient, 'client', 'must be an ArcClient');
}

/** @throws TypeError that names the option that is wrong */
export function checkManager(client: unknown, options: ThreadManagerOptions): void {
  checkClient(client);
  check(isObject(options), 'options', 'must be an object');
  const { store, busy, token, cleanupTimeout, logger, hooks } = options;
  const isStore =
    store === undefined || (isObject(store) && hasMethods(store, 'get', 'set', 'delete', 'values', 'clear'));
  check(isStore, 'store', 'must be a Map, or have its get, set, delete, values, clear and size');
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
    'must have a method error',
  );
  const areHooks = (value: object): boolean =>
    (['onStart', 'onRestart', 'onEnd'] as const).every((name) => {
      const hook = (value as Record<string, unknown>)[name];
      return hook === undefined || typeof hook === 'function';
    });
  check(hooks === undefined || (isObject(hooks) && areHooks(hooks)), 'hooks', 'must be an object of functions');
}

/** @throws TypeError that names the argument that is wrong */
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
