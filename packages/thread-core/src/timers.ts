import { setTimeout as delay } from 'node:timers/promises';

/** The promise's value, or undefined if it does not settle within `timeout` milliseconds. Rejects as the promise does. */
export async function withTimeout<T>(promise: Promise<T>, timeout: number): Promise<T | undefined> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise, delay(timeout, undefined, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
