import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { forkTypescript } from '../child-process.js';
import type { ReachedRecord } from '../history/history.js';
import type { AgentQuestions, Question } from './agent-process.js';

type Told = { reached: ReachedRecord } | { id: number; answer: unknown };

/** An agent in a process of its own. */
export class AgentProcess {
  readonly endpoint: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  #lastId = 0;

  /** `onReached` is called with each message that the agent gets. */
  static async start(onReached: (record: ReachedRecord) => void): Promise<AgentProcess> {
    const child = forkTypescript(new URL('agent-process.ts', import.meta.url));
    const [{ endpoint }] = (await once(child, 'message')) as [{ endpoint: string }];
    return new AgentProcess(child, endpoint, onReached);
  }

  private constructor(child: ChildProcess, endpoint: string, onReached: (record: ReachedRecord) => void) {
    this.#child = child;
    this.endpoint = endpoint;
    child.on('message', (told: Told) => {
      if ('reached' in told) return onReached(told.reached);
      this.#waiting.get(told.id)?.(told.answer);
      this.#waiting.delete(told.id);
    });
  }

  /** Asks the process. What it has told before its answer is known then. */
  ask<Name extends keyof AgentQuestions>(
    name: Name,
    ...args: Parameters<AgentQuestions[Name]>
  ): Promise<ReturnType<AgentQuestions[Name]>> {
    const id = ++this.#lastId;
    const question: Question = { id, name, args };
    this.#child.send(question);
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve as (answer: unknown) => void);
    });
  }

  async stop(): Promise<void> {
    const exit = once(this.#child, 'exit');
    if (this.#child.kill('SIGKILL')) await exit;
  }
}
