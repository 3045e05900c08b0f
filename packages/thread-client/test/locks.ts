import type { Test } from 'tap';

type Callback = (lock: object | null) => unknown;

/** The names of the locks that are held. */
class HeldLocks extends Set<string> {
  readonly waiting: Array<() => void> = [];

  /** The pages that hold them have gone away, or have released them: who waited first is next. */
  override clear(): void {
    super.clear();
    this.waiting.shift()?.();
  }
}

/** Answers come later and in order, as they come from the process of the browser. Timers that are due run before them. */
async function answer(): Promise<void> {
  await new Promise(setImmediate);
  await new Promise(setImmediate);
}

/** A stand-in for the Web Locks of a browser, which all pages share. Returns the names that are held. */
export function installLocks(t: Test): Set<string> {
  const held = new HeldLocks();
  const request = async (name: string, ...[first, second]: [Callback] | [{ ifAvailable: true }, Callback]) => {
    const isHeld = held.has(name);
    if (typeof first === 'function') {
      if (isHeld) await new Promise<void>((resolve) => held.waiting.push(resolve));
      held.add(name);
      await answer();
      await first({});
      held.clear();
    } else {
      await answer();
      second?.(isHeld ? null : {});
    }
  };
  installNavigator(t, { locks: { request } });
  return held;
}

/** A page on plain HTTP has no locks. Newer versions of Node have them. */
export function removeLocks(t: Test): Set<string> {
  installNavigator(t, {});
  return new Set();
}

/** A page with an opaque origin has locks, and may not use them. */
export function refuseLocks(t: Test): Set<string> {
  const request = () => Promise.reject(new DOMException('Access is denied', 'SecurityError'));
  installNavigator(t, { locks: { request } });
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
