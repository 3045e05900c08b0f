import type { Random } from '@arc/test-client';
import { mutate, spoil, write } from './json.js';

const message = { role: 'user', parts: [{ type: 'text', content: 'hello' }] };

/** A frame that is right. */
function right(random: Random, id: string): Record<string, unknown> {
  const thread = { agent_id: `agent-${random.below(4)}`, ...(random.chance(0.3) ? { context_id: 'other' } : {}) };
  const more = random.chance(0.3) ? { trace_id: 'trace', metadata: { a: [1, 'x', null] } } : {};
  switch (random.below(8)) {
    case 0:
      return { type: 'cancel', id: random.pick([id, `f${random.below(500)}`]) };
    case 1:
      return { type: 'end', id, ...thread, reason: 'over' };
    case 2:
      return { type: 'ping', id };
    case 3:
      return { type: 'message', id, ...thread, message, stream: true };
    default:
      return { id, ...thread, message, ...more, stream: random.chance(0.5) };
  }
}

/** A frame with something wrong, or (seldom) with nothing wrong. */
export function frame(random: Random, id: string): string {
  let value: unknown = right(random, id);
  if (random.chance(0.03)) return write(value);
  for (let times = 1 + random.below(3); times > 0; times--) value = mutate(random, value);
  let text = write(value);
  if (random.chance(0.3)) text = spoil(random, text);
  return text;
}

/** Whether the relay answers a frame: all but a right `cancel`, whose answer is that of the send. */
export function isAnswered(text: string): boolean {
  try {
    // As it arrives: in UTF-8, half of a surrogate pair is U+FFFD.
    const value = JSON.parse(Buffer.from(text).toString()) as unknown;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return true;
    const { type, id } = value as { type?: unknown; id?: unknown };
    const isId =
      typeof id === 'string' ? id.length > 0 && [...id].length <= 256 && id.isWellFormed() : Number.isSafeInteger(id);
    return type !== 'cancel' || !isId;
  } catch {
    return true;
  }
}
