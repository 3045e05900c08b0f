import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Everything that it wrote. */
  output: string;
}

/** A server that runs as a process of its own, and prints `Open http://…` when it listens. */
export class ServerProcess {
  readonly #process: ChildProcess;
  readonly exited: Promise<Exit>;
  /** The address that it prints. Rejected if it exits first. */
  readonly url: Promise<string>;

  /** It listens on a free port unless `variables` say otherwise. Its environment is `PATH` and these variables. */
  constructor(
    command: readonly [program: string, ...args: string[]],
    { variables = {}, cwd }: { variables?: Readonly<Record<string, string>>; cwd?: string } = {},
  ) {
    const { PATH = '' } = process.env;
    // tap would add its own loaders to NODE_OPTIONS, and the server would start more slowly than without a test.
    this.#process = spawn('env', ['-u', 'NODE_OPTIONS', ...command], {
      env: { PATH, PORT: '0', ...variables },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
    });
    let output = '';
    this.exited = once(this.#process, 'close').then(([code, signal]) => ({ code, signal, output }));
    this.url = new Promise((resolve, reject) => {
      const read = (chunk: Buffer): void => {
        output += chunk;
        const url = /^Open (http:\S+)$/m.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      };
      this.#process.stdout?.on('data', read);
      this.#process.stderr?.on('data', read);
      this.exited.then(() => reject(new Error(`${command.join(' ')} exited before it listened: ${output}`)), reject);
    });
    // A test that only waits for the exit does not use this promise.
    this.url.catch(() => {});
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.#process.kill(signal);
    return this.exited;
  }
}
