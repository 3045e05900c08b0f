// The agent of a cluster under attack. Its parent is told of each message that it gets, and asks by messages of its own.
import { type Gate, type RecordedRequest, startTestAgent } from '@arc/thread-core/testing';
import { recordingAgent } from '../history/answers.js';

/** What the parent asks, and gets as an answer. */
export interface AgentQuestions {
  /** How many of these chats are open. */
  countOpen(chatIds: readonly string[]): number;
  /** From now on no chat.end of these chats is answered. */
  hold(chatIds: readonly string[]): void;
  /** The requests that are held: what they were sent to, and whether whoever sent them has gone. */
  held(): { path: string; aborted: boolean }[];
  /** Answers everything that is held, and what comes from now on. */
  release(): void;
}

export interface Question {
  id: number;
  name: keyof AgentQuestions;
  args: unknown[];
}

const agent = await startTestAgent({
  handler: recordingAgent(
    (reached) => void process.send?.({ reached }),
    () => Promise.resolve(),
  ),
});
let gate: Gate | undefined;
let held: RecordedRequest[] = [];

const answers: AgentQuestions = {
  countOpen: (chatIds) => chatIds.filter((id) => agent.chats.get(id)?.status === 'ACTIVE').length,
  hold: (chatIds) => {
    const chats = new Set(chatIds);
    held = [];
    gate = agent.hold((request) => {
      const isHeld = request.method === 'chat.end' && chats.has(request.chatId ?? '');
      if (isHeld) held.push(request);
      return isHeld;
    });
  },
  held: () => held.map(({ path, aborted }) => ({ path, aborted })),
  release: () => gate?.release(),
};

process.on('message', ({ id, name, args }: Question) => {
  const answer = (answers[name] as (...args: unknown[]) => unknown)(...args);
  process.send?.({ id, answer });
});
process.once('disconnect', () => process.exit());
process.send?.({ endpoint: agent.endpoint });
