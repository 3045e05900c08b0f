/** Milliseconds. Node's timers know no longer time: what is longer would run out at once. */
export const LONGEST_TIME = 2 ** 31 - 1;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a JSON string cannot hold as it is, and what is half a character without what stands beside it. */
const SPECIAL = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;

/** As `JSON.stringify`, in a third of its time where nothing needs to be escaped. */
export function quote(text: string): string {
  return SPECIAL.test(text) ? JSON.stringify(text) : `"${text}"`;
}
