// Processes that tests start without what tap adds to NODE_OPTIONS, which more than doubles the time that a process takes to start.
// What is started this way runs as it would without tap.
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What tests that are written in TypeScript need, where Node is started with it: see tap.mjs. */
export const register = new URL('../scripts/typescript/register.mjs', import.meta.url).href;
const breakage = new URL('history/breakage.mjs', import.meta.url).href;
const { programOf } = (await import(new URL('../scripts/typescript/program.mjs', import.meta.url).href)) as {
  programOf(path: string): string;
};

export interface Command {
  execPath: string;
  execArgv: string[];
}

/** How to start Node, for `fork`, or for `spawn` as a program and its arguments. */
export function plainNode(...options: readonly string[]): Command {
  return { execPath: 'env', execArgv: ['-u', 'NODE_OPTIONS', process.execPath, ...options] };
}

/** The same for a program in TypeScript, whose path comes last. With `BREAKAGE` in its environment it runs on a broken build: see breakage.ts. */
export function typescriptNode(file: URL, env: NodeJS.ProcessEnv, ...options: readonly string[]): [Command, string] {
  if (env.BREAKAGE === undefined) return [plainNode(...options), programOf(fileURLToPath(file))];
  return [plainNode('--import', register, '--import', breakage, ...options), fileURLToPath(file)];
}

/** Starts a file in TypeScript, with a channel for messages. What it prints is printed. */
export function forkTypescript(file: URL, args: readonly string[] = [], env = process.env): ChildProcess {
  const [command, program] = typescriptNode(file, env);
  return fork(program, args, { ...command, env, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}
