import { PREFIX } from './random-name.js';

/** A reload releases the lock of the page before it late. */
const LOCK_TIMEOUT_MS = 500;

/**
 * Takes a Web Lock and keeps it for as long as the page lives. False if another page holds it. Pages on plain HTTP have
 * no locks, and those with an opaque origin, as in a sandboxed frame, are refused them: nothing can be known there, and the
 * answer is as if the lock were free.
 */
export function tabLock(name: string): Promise<boolean> {
  const locks = (globalThis as { navigator?: { locks?: LockManager } }).navigator?.locks;
  const key = PREFIX + name;
  return new Promise((resolve) => {
    let holding: Promise<never> | undefined = new Promise(() => {});
    const hold = () => {
      resolve(true);
      return holding;
    };
    const giveUp = (): void => {
      // A lock that comes too late is released at once.
      holding = undefined;
      resolve(false);
    };
    if (!locks) return resolve(true);
    locks.request(key, hold).catch(hold);
    // A page that was busy may have the lock without knowing it. Answers come in order, so it does when it has this one.
    setTimeout(() => locks.request(key, { ifAvailable: true }, giveUp).catch(giveUp), LOCK_TIMEOUT_MS);
  });
}
