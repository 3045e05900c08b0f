/** Milliseconds. Node's timers know no longer time: what is longer would run out at once. */
export const LONGEST_TIME = 2 ** 31 - 1;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
