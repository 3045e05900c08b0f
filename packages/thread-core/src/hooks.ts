import { isThenable } from './values.js';

/** A callback of the application, which may declare its parameters more precisely than they are known here. */
export type Callback<Parameters extends unknown[], Result> = { call(...parameters: Parameters): Result }['call'];

/**
 * Calls a function of the application, such as a hook, and ignores its result. `onError` gets what it throws, and what
 * a promise that it returns is rejected with. The promise is not awaited.
 */
export function invokeHook(hook: () => unknown, onError: (error: unknown) => void): void {
  try {
    const result = hook();
    // Any thenable: it may be a promise of another library.
    if (isThenable(result)) Promise.resolve(result).catch(onError);
  } catch (error) {
    onError(error);
  }
}
