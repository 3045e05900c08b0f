/**
 * Calls `check` whenever the network or the page comes back: online again, even if hidden, or visible again, out of the
 * back-forward cache, or no longer frozen, until the controller is aborted. Outside of browsers nothing happens.
 */
export function watchPage(check: () => void, controller: AbortController): void {
  if (!globalThis.document) return;
  const watched = { online: window, pageshow: window, visibilitychange: document, resume: document };
  for (const [type, target] of Object.entries(watched)) {
    // Of the document's events one says that the page is hidden now.
    target.addEventListener(type, () => (target === window || !document.hidden) && check(), controller);
  }
}
