import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { plainNode } from '../child-process.js';

/** A folder inside the workspace, so that imports resolve as they do in an application. */
export const folder = new URL(`../.tap/docs-${process.pid}/`, import.meta.url);

/** Reports the port that a server listens on, and gives Node 20 the WebSocket that later versions have. */
const PRELOAD = `
  import { Server } from 'node:net';
  import { WebSocket } from 'ws';
  globalThis.WebSocket ??= WebSocket;
  const { listen } = Server.prototype;
  Server.prototype.listen = function (...args) {
    this.once('listening', () => process.send(this.address().port));
    return listen.apply(this, args);
  };
`;

export function createFolder(): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(new URL('preload.mjs', folder), PRELOAD);
}

export function removeFolder(): void {
  rmSync(folder, { recursive: true, force: true });
}

/** A code block that runs as a process of its own. */
export class Program {
  static #count = 0;
  readonly #process: ChildProcess;
  /** What it has written so far. */
  output = '';
  /** The port that it listens on; rejects if it ends without one. */
  readonly port: Promise<number>;
  readonly ended: Promise<{ code: number | null; output: string; errors: string }>;

  constructor(t: Test, code: string, env: Record<string, string> = {}) {
    const path = fileURLToPath(new URL(`${++Program.#count}.mjs`, folder));
    writeFileSync(path, code);
    const node = plainNode('--import', new URL('preload.mjs', folder).href);
    this.#process = fork(path, { ...node, env: { PATH: process.env.PATH ?? '', ...env }, silent: true });
    let errors = '';
    this.#process.stdout?.on('data', (chunk) => {
      this.output += chunk;
    });
    this.#process.stderr?.on('data', (chunk) => {
      errors += chunk;
    });
    this.ended = once(this.#process, 'close').then(([code]) => ({ code, output: this.output, errors }));
    this.port = new Promise((resolve, reject) => {
      this.#process.once('message', resolve);
      void this.ended.then(() => reject(new Error(`It ended before it listened: ${errors}`)));
    });
    this.port.catch(() => {});
    t.teardown(() => this.#process.kill('SIGKILL'));
  }

  stop(): void {
    this.#process.kill('SIGTERM');
  }
}
