/** A reload releases the lock of the page before it late. */
const LOCK_TIMEOUT_MS = 500;

/**
 * Takes a Web Lock and keeps it for as long as the page lives. False if another page holds it. Pages on plain HTTP have
 * no locks: nothing can be known there, and the answer is as if the lock were free.
 */
export function tabLock(name: string): Promise<boolean> {
  const { navigator } = globalThis as { navigator?: { locks?: LockManager } };
  return new Promise((resolve) => {
    const hold = (): Promise<never> => {
      resolve(true);
      return new Promise(() => {});
    };
    const options = { signal: AbortSignal.timeout(LOCK_TIMEOUT_MS) };
    const held = navigator?.locks?.request(`arc-threads:${name}`, options, hold) ?? hold();
    held.catch(() => resolve(false));
  });
}
