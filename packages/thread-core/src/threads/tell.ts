/** Calls a hook of the application's: neither a throw nor a rejection of it may change anything here. */
export function tell(hook: () => unknown, onError: (error: unknown) => void): void {
  try {
    const told = hook();
    // Any thenable: it may be a promise of another library's.
    if (typeof Object(told).then === 'function') Promise.resolve(told).catch(onError);
  } catch (error) {
    onError(error);
  }
}
