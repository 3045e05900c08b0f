import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Answer, Api, Question } from './serve.js';

/** Timeout of one call, in ms. */
const CALL_TIMEOUT = 120_000;

const running = new Set<ChildProcess>();

/** Kills all processes that this process has started. */
export function killChildren(): void {
  for (const child of running) child.kill('SIGKILL');
}

/** A child process whose functions can be called from here. */
export class Child<Methods extends Api> {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #calls = 0;
  #stopped = false;

  /** `script` is a file in the parent directory: `host`, `agent` or `load`. */
  constructor(script: string, args: readonly string[] = []) {
    this.#name = [script, ...args].join(' ');
    const file = fileURLToPath(new URL(`../${script}.js`, import.meta.url));
    this.#child = fork(file, args, { execArgv: ['--expose-gc'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    running.add(this.#child);
    this.#child.on('message', (message) => this.#onAnswer(message as Answer));
    this.#child.on('exit', (code, signal) => {
      running.delete(this.#child);
      if (!this.#stopped) this.#fail(new Error(`The process "${this.#name}" has ended: ${signal ?? code}`));
    });
  }

  call<Name extends keyof Methods & string>(
    method: Name,
    ...args: Parameters<Methods[Name]>
  ): Promise<Awaited<ReturnType<Methods[Name]>>> {
    return new Promise((resolve, reject) => {
      const call = ++this.#calls;
      const timer = setTimeout(() => {
        this.#waiting.delete(call);
        reject(new Error(`"${this.#name}" did not finish ${method} in ${CALL_TIMEOUT} ms`));
      }, CALL_TIMEOUT);
      const settle =
        <Value>(settled: (value: Value) => void) =>
        (value: Value): void => {
          clearTimeout(timer);
          settled(value);
        };
      this.#waiting.set(call, { resolve: settle(resolve), reject: settle(reject) });
      this.#child.send({ call, method, args } satisfies Question);
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (!running.has(this.#child)) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  #onAnswer({ call, value, error }: Answer): void {
    const waiting = this.#waiting.get(call);
    this.#waiting.delete(call);
    if (error === undefined) waiting?.resolve(value as never);
    else waiting?.reject(new Error(`${this.#name}: ${error}`));
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
