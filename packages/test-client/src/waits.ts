/** Milliseconds after which a test stops waiting for an event. */
const WAIT_LIMIT_MS = 30_000;

type Text = string | (() => string);

const say = (what: Text): string => (typeof what === 'string' ? what : what());

/** The promise, or after `ms` a failure that says what was waited for. */
export async function withDeadline<T>(promise: Promise<T>, what: Text, ms = WAIT_LIMIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`Timed out after ${ms} ms waiting for ${say(what)}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Polls until a condition holds that no event announces. */
export async function until(holds: () => boolean | Promise<boolean>, what: Text, ms = WAIT_LIMIT_MS): Promise<void> {
  const end = performance.now() + ms;
  // First in each turn of the event loop, which is mostly soon enough, and then without taking the processor from others.
  for (let looks = 0; !(await holds()); looks++) {
    if (performance.now() > end) throw new Error(`Timed out after ${ms} ms waiting until ${say(what)}`);
    await new Promise((resolve) => (looks < 100 ? setImmediate(resolve) : setTimeout(resolve, 5)));
  }
}

/** A promise with its handles. */
export function deferred<T = void>(): { promise: Promise<T>; resolve(value: T): void; reject(reason: unknown): void } {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((onValue, onReason) => {
    resolve = onValue;
    reject = onReason;
  });
  return { promise, resolve, reject };
}
