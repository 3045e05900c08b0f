/**
 * Levels of arrays and objects in one another that are parsed. V8 takes up to a microsecond for each, during which nothing
 * else is served: seconds for an answer that is nothing but brackets.
 */
const MAX_LEVELS = 10_000;

/** What is wrong with a text for which `isTooDeep` holds. */
export const TOO_DEEP = 'nested more than 10,000 levels deep';

/**
 * Whether JSON of others is nested so deeply that it is not parsed. One pass, and none for texts that are too short for
 * that. A text that is no JSON may give either answer.
 */
export function isTooDeep(json: string): boolean {
  if (json.length <= MAX_LEVELS) return false;
  let levels = 0;
  for (let at = 0; at < json.length; at += 1) {
    const code = json.charCodeAt(at);
    if (code === 0x22) at = endOfString(json, at);
    else if (code === 0x5b || code === 0x7b) {
      levels += 1;
      if (levels > MAX_LEVELS) return true;
    } else if (code === 0x5d || code === 0x7d) levels -= 1;
  }
  return false;
}

/** The position of the quote that ends the JSON string at `start`; the end of the text if there is none. */
export function endOfString(json: string, start: number): number {
  const end = json.indexOf('"', start + 1);
  if (end === -1) return json.length;
  // Most strings have no escaped quote, and `indexOf` is many times as fast as a loop.
  if (json.charCodeAt(end - 1) !== 0x5c) return end;
  for (let at = start + 1; at < json.length; at += 1) {
    const code = json.charCodeAt(at);
    if (code === 0x5c) at += 1;
    else if (code === 0x22) return at;
  }
  return json.length;
}
