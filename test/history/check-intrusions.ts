import type { History, IntrusionRecord } from './history.js';

/**
 * How a connection may end on which somebody asked for a session with a wrong secret: he has closed it, it was lost, its node shut
 * down, or the store was away. 4409 would say that there is such a session.
 */
const CODES: readonly (number | undefined)[] = [1000, 1006, 1012, 1013];

/** Who has a wrong secret is told what he would be told of a session that there is not. */
export function checkIntrusions({ intrusions }: History): string[] {
  const problems = intrusions.flatMap(checkIntrusion);
  const isTold = intrusions.some(({ answers }) => answers.length > 0);
  return intrusions.length > 0 && !isTold ? [...problems, 'nobody with a wrong secret was told anything'] : problems;
}

function checkIntrusion({ secret, answers, code }: IntrusionRecord): string[] {
  const [first, ...others] = answers;
  const isRefusal = first?.type === 'ready' && first.resumed !== true && first.reason === 'unknown';
  const wrong = first === undefined || isRefusal ? others : answers;
  return [
    ...wrong.map((frame) => `with ${secret} somebody was told ${JSON.stringify(frame)}`),
    ...(CODES.includes(code) ? [] : [`with ${secret} somebody's connection was closed with ${code}`]),
  ];
}
