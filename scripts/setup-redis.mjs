// Installs a Redis server where there is none and it can be done without asking, and Valkey where the distribution has it. The tests
// and `npm run cluster` start them themselves.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isOnPath(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.some((folder) => isProgram(join(folder, name)));
}

function fail(problem) {
  console.error(`${problem}\nredis-server is needed: install it, or set REDIS_SERVER_PATH to the program.`);
  process.exit(1);
}

function run(...command) {
  const isRoot = process.getuid?.() === 0;
  const [program, ...args] = isRoot ? command : ['sudo', '-n', ...command];
  const { status, error } = spawnSync(program, args, { stdio: ['ignore', 2, 2] });
  if (error !== undefined || status !== 0) fail(`"${command.join(' ')}" failed${isRoot ? '' : ' (with sudo)'}.`);
}

function install(name) {
  const options = ['-qq', '-y', '--no-install-recommends'];
  // The package would start a server of its own, which nothing here needs.
  run('env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', 'apt-get', 'install', ...options, name);
  if (!isOnPath(name)) fail(`apt-get installed ${name}, but it is not on the PATH.`);
}

function isPackage(name) {
  const { stdout } = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' });
  return /Candidate: \d/.test(stdout ?? '');
}

const given = process.env.REDIS_SERVER_PATH;
if (given !== undefined && given !== '') {
  if (!isProgram(given)) fail(`REDIS_SERVER_PATH is ${given}, which is no program.`);
} else if (!isOnPath('redis-server')) {
  if (!isOnPath('apt-get')) fail('No redis-server was found, and no apt-get to install it with.');
  console.error('No redis-server was found: installing it with apt-get.');
  run('apt-get', 'update', '-qq');
  install('redis-server');
  if (isPackage('valkey-server')) install('valkey-server');
}
