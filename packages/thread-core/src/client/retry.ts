/** Milliseconds before the first attempt to send again; each further pause is twice as long, up to the longest. */
const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;

/** Where a call has no time-out it waits no longer than this, in milliseconds, for an agent that asks for patience. */
export const LONGEST_WAIT = 60_000;

/** Milliseconds to wait before a request is sent again for the first (0), second, … time. */
export function pauseBefore(attempt: number): number {
  return jittered(Math.min(FIRST_PAUSE * 2 ** attempt, LONGEST_PAUSE));
}

/** Half of it at least, so that those who failed together do not all come back together. */
export function jittered(milliseconds: number): number {
  return milliseconds * (0.5 + Math.random() / 2);
}

/** How many milliseconds a `Retry-After` asks for; undefined where it is neither seconds nor a date. */
export function readRetryAfter(value: unknown): number | undefined {
  const text = String(value ?? '');
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = text.endsWith('GMT') ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(date - Date.now(), 0);
}
