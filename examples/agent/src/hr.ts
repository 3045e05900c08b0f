import { address, type Talk } from './talk.js';

/** Days of leave in a year. */
const LEAVE = 25;

/** Books days of leave, and keeps the balance. */
export function hr(talk: Talk): string {
  const { text, earlier } = talk;
  const left = LEAVE - earlier.reduce(book, 0);
  const wanted = daysIn(text);
  if (wanted > left)
    return `That is more than you have${address(talk)}: your balance is ${days(left)}. How many instead?`;
  if (wanted > 0) {
    return `I have booked ${days(wanted)} of leave${address(talk)}, which leaves ${days(left - wanted)}. From which day on?`;
  }
  if (/\b(leave|holiday|vacation|balance|left|days)\b/i.test(text)) {
    return `You have ${days(left)} of leave left out of ${LEAVE}. Would you like to book some?`;
  }
  if (earlier.some((said) => daysIn(said) > 0)) return `Good, "${text}" is noted with your leave. Anything else?`;
  return `Hello${address(talk)}, this is HR. Ask for your leave balance, or book days, as in "book 3 days off".`;
}

/** Only what was there to be booked counts. */
function book(booked: number, said: string): number {
  const wanted = daysIn(said);
  return booked + wanted > LEAVE ? booked : booked + wanted;
}

function daysIn(text: string): number {
  return Number(/\b(?:book|take|want|need|like|instead)\b.{0,80}?\b(\d+)\s+days?\b/i.exec(text)?.[1] ?? 0);
}

function days(count: number): string {
  return `${count} day${count === 1 ? '' : 's'}`;
}
