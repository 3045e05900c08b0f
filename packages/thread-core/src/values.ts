/** Milliseconds. Node's timers know no longer time: what is longer would run out at once. */
export const LONGEST_TIME = 2 ** 31 - 1;

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is escaped in a JSON string, and halves of characters, which are where the other half is missing. */
const ESCAPED = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;

/** As `JSON.stringify`, in a third of its time where nothing needs to be escaped. */
export function quote(text: string): string {
  return ESCAPED.test(text) ? JSON.stringify(text) : `"${text}"`;
}
