// Finds programs, and installs those that are missing with apt-get where that can be done without asking.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The path of a program; undefined if it is not on the PATH. */
export function findProgram(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

/** Runs apt-get. `fail` is called with what went wrong, and does not return. Prints to standard error only. */
export function runApt(fail, ...args) {
  if (findProgram('apt-get') === undefined) fail('There is no apt-get to install it with.');
  const isRoot = process.getuid?.() === 0;
  // The package of a server would start one of its own, which nothing here needs.
  const command = [...(isRoot ? [] : ['sudo', '-n']), 'env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', 'apt-get'];
  const [program, ...rest] = [...command, ...args];
  const { status, error } = spawnSync(program, rest, { stdio: ['ignore', 2, 2] });
  if (error !== undefined || status !== 0) fail(`"apt-get ${args.join(' ')}" failed${isRoot ? '' : ' (with sudo)'}.`);
}

export function installPackage(fail, name) {
  runApt(fail, 'install', '-qq', '-y', '--no-install-recommends', name);
}
