import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { typescriptNode } from '../child-process.js';

/** A replacement in a package's emitted JavaScript. */
export interface Breakage {
  /** The end of the file's path. */
  file: string;
  /** The exact text that is replaced. It occurs once in the file. */
  find: string;
  replace: string;
}

/** Environment of processes that run on a build that is broken, or on the intact one. */
export function brokenBuild(breakage: Breakage | undefined): NodeJS.ProcessEnv {
  if (breakage === undefined) return process.env;
  return { ...process.env, BREAKAGE: JSON.stringify(breakage) };
}

/** Runs a program of the tests. Resolves to what it writes; rejects if it fails. */
export async function runProgram(program: URL, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  const [{ execPath, execArgv }, path] = typescriptNode(program, env);
  const child = spawn(execPath, [...execArgv, path, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (errors += chunk));
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program.pathname} has exited with ${code}: ${errors}`);
  return output;
}
