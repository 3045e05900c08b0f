/**
 * Calls `check` whenever the network or the page comes back: online again, visible again, out of the back-forward cache,
 * or no longer frozen. Returns a function that stops it. Outside of browsers nothing happens.
 */
export function watchPage(check: () => void): () => void {
  const watched: [target: EventTarget, type: string][] = [];
  if (typeof globalThis.addEventListener === 'function') watched.push([globalThis, 'online'], [globalThis, 'pageshow']);
  if (typeof document === 'object') watched.push([document, 'visibilitychange'], [document, 'resume']);
  const listener = (event: Event): void => {
    const isHidden = event.type === 'visibilitychange' && document.visibilityState === 'hidden';
    const isFirstShow = event.type === 'pageshow' && !(event as PageTransitionEvent).persisted;
    if (!isHidden && !isFirstShow) check();
  };
  for (const [target, type] of watched) target.addEventListener(type, listener);
  return () => {
    for (const [target, type] of watched) target.removeEventListener(type, listener);
  };
}

/** A reload releases the lock of the page before it late. */
const LOCK_TIMEOUT_MS = 500;

/**
 * Takes a Web Lock for as long as the page lives, or until the returned function is called. Undefined if another page
 * holds it. Pages on plain HTTP have no locks: there, nothing can be known, and the answer is as if it were free.
 */
export function tabLock(name: string): Promise<(() => void) | undefined> {
  const locks = typeof navigator === 'object' ? (navigator.locks as LockManager | undefined) : undefined;
  if (locks === undefined) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(LOCK_TIMEOUT_MS);
    const hold = (): Promise<void> => new Promise((release) => resolve(release));
    locks.request(`arc-threads:${name}`, { signal }, hold).catch(() => resolve(undefined));
  });
}
