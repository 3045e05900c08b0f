import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Everything that it wrote. */
  output: string;
}

/** An example server, run as its own process as `npm start` runs it. */
export class Example {
  readonly #process: ChildProcess;
  readonly exited: Promise<Exit>;
  /** The address that it prints; rejected where it exits instead. */
  readonly url: Promise<string>;

  /** `name` is the folder in examples/. It listens on a free port unless `variables` say otherwise. */
  constructor(name: string, variables: Readonly<Record<string, string>> = {}) {
    const server = fileURLToPath(new URL(`../../examples/${name}/dist/server.js`, import.meta.url));
    const { PATH = '' } = process.env;
    this.#process = spawn(process.execPath, [server], {
      env: { PATH, PORT: '0', ...variables },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    this.exited = once(this.#process, 'close').then(([code, signal]) => ({ code, signal, output }));
    this.url = new Promise((resolve, reject) => {
      const read = (chunk: Buffer) => {
        output += chunk;
        const url = /^Open (http:\S+)$/m.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      };
      this.#process.stdout?.on('data', read);
      this.#process.stderr?.on('data', read);
      void this.exited.then(() => reject(new Error(`${name} exited before it listened: ${output}`)));
    });
    // A test that waits for the exit alone does not look at this one.
    this.url.catch(() => {});
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    this.#process.kill(signal);
    return this.exited;
  }
}
