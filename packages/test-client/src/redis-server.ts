import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A redis-server process for one test, with its own port and folder. */
export class RedisServer {
  readonly port: number;
  readonly #program: string;
  readonly #folder: string;
  readonly #args: string[];
  #process: ChildProcess | undefined;

  static start(...args: string[]): Promise<RedisServer> {
    return RedisServer.startProgram(process.env.REDIS_SERVER_PATH || 'redis-server', ...args);
  }

  /** Starts another program that speaks Redis, such as `valkey-server`. */
  static async startProgram(program: string, ...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(program, await freePort(), await mkdtemp(join(tmpdir(), 'arc-redis-')), args);
    await server.start();
    return server;
  }

  private constructor(program: string, port: number, folder: string, args: string[]) {
    this.#program = program;
    this.port = port;
    this.#folder = folder;
    this.#args = args;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, on the same port and in the same folder as before. */
  async start(): Promise<void> {
    const args = [
      '--port',
      String(this.port),
      '--bind',
      '127.0.0.1',
      '--dir',
      this.#folder,
      '--save',
      '',
      ...this.#args,
    ];
    const child = spawn(this.#program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#process = child;
    const lines = createInterface({ input: child.stdout });
    const said: string[] = [];
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`redis-server exited with ${code}:\n${said.join('\n')}`)));
      lines.on('line', (line) => {
        said.push(line);
        if (line.includes('Ready to accept connections')) resolve();
      });
    });
    // Reads on, so that the pipe does not fill up.
    lines.removeAllListeners('line').resume();
  }

  /** Kills the process, and waits until it has exited. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  /** Whether its data outlives the process. */
  get isPersistent(): boolean {
    return this.#args.includes('--appendonly');
  }

  /** Removes what a process that has exited has left of its data. */
  async removeData(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
    await mkdir(this.#folder);
  }

  /** Freezes or resumes the process. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal);
  }

  /** Kills the process, and removes its folder. */
  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
