import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { typescriptNode } from '../child-process.js';
import { withDeadline } from './world.js';

/** What a relay in a child process reports. */
export interface Report {
  url: string;
  /** Used heap in bytes, after garbage collection. */
  heap: number;
  sessions: number;
  threads: number;
  pending: number;
  /** Number of chats of closed sessions that were ended, and that could not be ended. */
  ended: number;
  failed: number;
  /** Unhandled rejections and uncaught exceptions. */
  errors: string[];
}

/** Starts a TypeScript file in a child process. */
export function start(file: URL, args: string[] = []): ChildProcess {
  const [command, program] = typescriptNode(file, process.env, '--expose-gc');
  return fork(program, args, { ...command, stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
}

/** A relay in a child process, so that its memory can be measured, and a crash affects only itself. */
export class RelayProcess {
  readonly #child: ChildProcess;
  readonly url: string;

  private constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
  }

  static async start(endpoint: string, options: Record<string, number | boolean> = {}): Promise<RelayProcess> {
    const args = [endpoint, JSON.stringify(options)];
    const child = start(new URL('relay-process.ts', import.meta.url), args);
    const { url } = await next(child);
    return new RelayProcess(child, url);
  }

  /** Collects garbage, and reports. */
  report(): Promise<Report> {
    const report = next(this.#child);
    this.#child.send('report');
    return report;
  }

  /** Reports once the sessions have ended, with their chats. */
  settled(): Promise<Report> {
    const report = next(this.#child);
    this.#child.send('report when settled');
    return report;
  }

  async stop(): Promise<number | null> {
    const exit = once(this.#child, 'exit');
    this.#child.send('stop');
    const [code] = await withDeadline(exit, 'the exit of the relay', 15_000);
    return code as number | null;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function next(child: ChildProcess): Promise<Report> {
  const over = new AbortController();
  const { signal } = over;
  try {
    const gone = once(child, 'exit', { signal }).then(([code]) => {
      throw new Error(`The process of the relay exited with ${code}`);
    });
    const word = Promise.race([once(child, 'message', { signal }), gone]);
    const [report] = await withDeadline(word, 'a report of the relay', 60_000);
    return report as Report;
  } finally {
    over.abort();
  }
}
