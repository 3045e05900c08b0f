/** Milliseconds before the first retry. Each further pause is twice as long, up to the longest. */
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1000;

/** The most milliseconds that a call without a time-out waits for a `Retry-After`. */
export const MAX_WAIT_MS = 60_000;

/** Milliseconds to wait before the first (0), second, … retry. */
export function pauseBefore(attempt: number): number {
  return jittered(Math.min(FIRST_PAUSE_MS * 2 ** attempt, MAX_PAUSE_MS));
}

/** At least half of it, so that requests that failed together are not all sent again together. */
export function jittered(milliseconds: number): number {
  return milliseconds * (0.5 + Math.random() / 2);
}

/** How many milliseconds a `Retry-After` asks for; undefined if it is neither seconds nor a date. */
export function readRetryAfter(value: unknown): number | undefined {
  const text = String(value ?? '');
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = text.endsWith('GMT') ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(date - Date.now(), 0);
}
