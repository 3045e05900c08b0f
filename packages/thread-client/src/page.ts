/**
 * Calls `check` whenever the network or the page comes back: online again, visible again, out of the back-forward cache,
 * or no longer frozen. Returns a function that stops it. Outside of browsers nothing happens.
 */
export function watchPage(check: () => void): () => void {
  if (typeof document !== 'object') return () => {};
  const watched = { online: window, pageshow: window, visibilitychange: document, resume: document };
  const listener = (): void => {
    if (document.visibilityState === 'visible') check();
  };
  const controller = new AbortController();
  for (const [type, target] of Object.entries(watched)) target.addEventListener(type, listener, controller);
  return () => controller.abort();
}

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
    if (navigator?.locks === undefined) resolve(true);
    else {
      const signal = AbortSignal.timeout(LOCK_TIMEOUT_MS);
      navigator.locks.request(`arc-threads:${name}`, { signal }, hold).catch(() => resolve(false));
    }
  });
}
