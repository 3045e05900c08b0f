import { address, type Talk } from './talk.js';

const PROBLEM =
  /\b(broken|break|breaks|crash\w*|error|fail\w*|slow|stuck|lost|problem|issue|cannot|can't|not work\w*)\b/i;

/** Opens a ticket for the first problem, adds later ones to it, and answers questions about it. */
export function support(talk: Talk): string {
  const { text, earlier, reference } = talk;
  const problems = earlier.filter((said) => PROBLEM.test(said));
  const ticket = `T-${reference}`;
  if (PROBLEM.test(text)) {
    return problems.length === 0
      ? `I am sorry to hear that${address(talk)}. I have opened ticket ${ticket} for "${text}". Since when does it happen?`
      : `I have added that to ticket ${ticket}, which now has ${problems.length + 1} entries. Is there anything else?`;
  }
  if (/\bticket\b/i.test(text)) {
    return problems.length === 0
      ? 'There is no ticket yet. What is the problem?'
      : `Your ticket is ${ticket}, about "${problems.join('" and "')}". A colleague is looking at it.`;
  }
  if (/\b(thanks|thank you|bye)\b/i.test(text)) return `You are welcome${address(talk)}. Have a good day!`;
  if (problems.length > 0) return `Thank you, I have noted "${text}" on ticket ${ticket}. Is there anything else?`;
  if (talk.name === undefined) return 'Hello, this is support. What is your name, and what can I do for you?';
  return `Hello${address(talk)}. What is the problem?`;
}
