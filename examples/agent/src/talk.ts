import { setTimeout } from 'node:timers/promises';
import { type AgentHandler, textOf } from '@arc/thread-core/testing';

/** What an agent knows when it answers. All of it is in the chat's history. */
export interface Talk {
  text: string;
  /** What the user said before, oldest first. */
  earlier: string[];
  /** The user's name, once it was said. */
  name: string | undefined;
  /** A number of four digits that stays the same throughout the chat. */
  reference: number;
}

/** Milliseconds between the words of an answer if the message contains "slowly". */
const SLOW_WORD_DELAY = 400;

/**
 * An agent that speaks a word at a time, `wordDelay` milliseconds apart. Asked to, it counts, is slow, or fails in the
 * middle of its answer.
 */
export function speaker(reply: (talk: Talk) => string, wordDelay: number): AgentHandler {
  return async function* speak({ message, history, chatId, signal }) {
    const text = textOf(message).trim();
    const earlier = history.filter(({ role }) => role === 'user').map((message) => textOf(message).trim());
    const name = [...earlier, text].map(nameIn).findLast((name) => name !== undefined);
    const talk = { text, earlier, name, reference: referenceOf(chatId) };
    const delay = wordDelay > 0 && /\bslowly\b/i.test(text) ? Math.max(wordDelay, SLOW_WORD_DELAY) : wordDelay;
    const fails = /\bplease fail\b/i.test(text);
    const answer = fails ? 'I was about to answer, but' : (count(text) ?? recall(talk) ?? reply(talk));
    for (const word of answer.match(/\S+\s*/g) ?? []) {
      if (delay > 0) await setTimeout(delay, undefined, { signal });
      yield word;
    }
    if (fails) yield { event: 'error', data: { code: -42_004, message: 'This failure was asked for' } };
  };
}

/** ", Ada" if the name is known, to be put after a greeting. */
export function address({ name }: Talk): string {
  return name === undefined ? '' : `, ${name}`;
}

function count(text: string): string | undefined {
  const last = Number(/\bcount\b.{0,20}?\bto (\d{1,3})\b/i.exec(text)?.[1] ?? 0);
  return last === 0 ? undefined : Array.from({ length: last }, (_, index) => index + 1).join(' ');
}

/** What every agent answers alike: questions about the conversation itself. */
function recall({ text, earlier, name }: Talk): string | undefined {
  if (/what('s| is) my name|who am i\b/i.test(text)) {
    return name === undefined ? 'You have not told me your name yet. What is it?' : `You are ${name}.`;
  }
  if (/\b(did i|have i|i) (ask|say|said|asked|told|tell)\b|\bremember\b/i.test(text)) {
    if (earlier.length === 0) return 'This is the first thing that you tell me.';
    return `You asked about ${earlier
      .slice(-5)
      .map((said) => `"${said}"`)
      .join(', then ')} earlier.`;
  }
  return undefined;
}

function nameIn(text: string): string | undefined {
  return /\b(?:[Mm]y name is|I am|I'm|[Tt]his is)\s+(\p{Lu}\p{L}+)/u.exec(text)?.[1];
}

function referenceOf(chatId: string): number {
  let sum = 0;
  for (const char of chatId) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 9000;
  return 1000 + sum;
}
