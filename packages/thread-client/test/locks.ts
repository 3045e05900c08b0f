import type { Test } from 'tap';

type Request = (name: string, options: { signal: AbortSignal }, hold: () => Promise<never>) => Promise<never>;

/** A stand-in for the Web Locks of a browser, which all pages share. Returns the names that are held. */
export function installLocks(t: Test): Set<string> {
  const held = new Set<string>();
  const request: Request = (name, { signal }, hold) => {
    if (!held.has(name)) {
      held.add(name);
      return hold();
    }
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  };
  installNavigator(t, { locks: { request } });
  return held;
}

/** A page on plain HTTP has no locks. Newer versions of Node have them. */
export function removeLocks(t: Test): Set<string> {
  installNavigator(t, {});
  return new Set();
}

function installNavigator(t: Test, value: object): void {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value });
  t.teardown(() => {
    if (before === undefined) Reflect.deleteProperty(globalThis, 'navigator');
    else Object.defineProperty(globalThis, 'navigator', before);
  });
}
