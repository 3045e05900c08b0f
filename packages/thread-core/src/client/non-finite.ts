import { endOfString } from '../json-text.js';

/** Whether a text has one of the numbers that Python writes and JSON does not know. */
export function hasNonFinite(text: string): boolean {
  return text.includes('NaN') || text.includes('Infinity');
}

/**
 * Replaces `NaN`, `Infinity` and `-Infinity` outside of strings by `null`. Read character by character, because a regular
 * expression for strings would remember each of theirs.
 */
export function replaceNonFinite(text: string): string {
  let result = '';
  let copied = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') {
      at = endOfString(text, at);
      continue;
    }
    const length = character === 'N' || character === 'I' || character === '-' ? lengthAt(text, at) : 0;
    if (length === 0) continue;
    result += `${text.slice(copied, at)}null`;
    at += length - 1;
    copied = at + 1;
  }
  return result + text.slice(copied);
}

function lengthAt(text: string, at: number): number {
  for (const word of ['NaN', 'Infinity', '-Infinity']) if (text.startsWith(word, at)) return word.length;
  return 0;
}
