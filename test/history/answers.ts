import type { AgentHandler } from '@arc/thread-core/testing';
import { textOf } from '@arc/thread-core/testing';
import type { ReachedRecord } from './history.js';

/** What a message asks its agent for. */
export interface Question {
  label: string;
  /** Number of pieces of the answer. */
  pieces: number;
  /** Characters of each piece, at least. */
  size: number;
  /** Milliseconds between two pieces. */
  delay: number;
  /** The second half of the answer waits until the agent is released. */
  held: boolean;
}

export function write({ label, pieces, size, delay, held }: Question): string {
  return [label, pieces, size, delay, held ? 'held' : 'free'].join(' ');
}

/** The texts of an answer, piece by piece. */
export function answerTo({ label, pieces, size }: Question): string[] {
  return Array.from({ length: pieces }, (_, index) => `${label}/${index} `.padEnd(size, '.'));
}

/** The agent of these tests: tells of every message that it is given, and answers as the message asks. */
export function recordingAgent(record: (reached: ReachedRecord) => void, released: () => Promise<void>): AgentHandler {
  return async function* answer({ message, chatId, signal }) {
    const [label = '', pieces, size, delay, held] = textOf(message).split(' ');
    record({ label, chatId });
    const question = { label, pieces: Number(pieces), size: Number(size), delay: Number(delay), held: held === 'held' };
    const texts = answerTo(question);
    for (const [index, text] of texts.entries()) {
      if (question.held && index === Math.floor(texts.length / 2)) await released();
      await new Promise((resolve) =>
        question.delay > 0 ? setTimeout(resolve, question.delay) : setImmediate(resolve),
      );
      if (signal.aborted) return;
      yield text;
    }
  };
}
