/**
 * Calls `check` whenever the network or the page comes back: online again, visible again, out of the back-forward cache,
 * or no longer frozen, until the controller is aborted. Outside of browsers nothing happens.
 */
export function watchPage(check: () => void, controller: AbortController): void {
  if (typeof document !== 'object') return;
  const watched = { online: window, pageshow: window, visibilitychange: document, resume: document };
  const listener = (): void => {
    if (document.visibilityState === 'visible') check();
  };
  for (const [type, target] of Object.entries(watched)) target.addEventListener(type, listener, controller);
}
