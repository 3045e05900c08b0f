import { setTimeout as delay } from 'node:timers/promises';
import { MAX_TIMEOUT_MS } from './values.js';

/**
 * The promise's value, or undefined if it does not settle within `timeout` milliseconds, of which no more count than a timer can
 * wait. Rejects as the promise does.
 */
export async function withTimeout<T>(promise: Promise<T>, timeout: number): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, delay(Math.min(timeout, MAX_TIMEOUT_MS), undefined, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
