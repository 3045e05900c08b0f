// Processes that tests start without what tap adds to NODE_OPTIONS, which more than doubles the time that a process takes to start.
// What is started this way runs as it would without tap.
import { type ChildProcess, fork } from 'node:child_process';

const register = new URL('../scripts/typescript/register.mjs', import.meta.url).href;
const breakage = new URL('history/breakage.mjs', import.meta.url).href;

export interface Command {
  execPath: string;
  execArgv: string[];
}

/** How to start Node, for `fork`, or for `spawn` as a program and its arguments. */
export function plainNode(...options: readonly string[]): Command {
  return { execPath: 'env', execArgv: ['-u', 'NODE_OPTIONS', process.execPath, ...options] };
}

/** The same for a file in TypeScript. With `BREAKAGE` in its environment it runs on a broken build: see breakage.ts. */
export function typescriptNode(env: NodeJS.ProcessEnv = process.env, ...options: readonly string[]): Command {
  const broken = env.BREAKAGE === undefined ? [] : ['--import', breakage];
  return plainNode('--import', register, ...broken, ...options);
}

/** Starts a file in TypeScript, with a channel for messages. What it prints is printed. */
export function forkTypescript(file: URL, args: readonly string[] = [], env = process.env): ChildProcess {
  return fork(file, args, { ...typescriptNode(env), env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}
