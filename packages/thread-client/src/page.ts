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
