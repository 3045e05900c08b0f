// Installs a Redis server where there is none and it can be done without asking, and Valkey where the distribution has it. The tests
// and `npm run cluster` start them themselves.
import { spawnSync } from 'node:child_process';
import { findProgram, installPackage, isProgram, runApt } from './programs.mjs';

function fail(problem) {
  console.error(`${problem}\nredis-server is needed: install it, or set REDIS_SERVER_PATH to the program.`);
  process.exit(1);
}

function isPackage(name) {
  const { stdout } = spawnSync('apt-cache', ['policy', name], { encoding: 'utf8' });
  return /Candidate: \d/.test(stdout ?? '');
}

const given = process.env.REDIS_SERVER_PATH;
if (given !== undefined && given !== '') {
  if (!isProgram(given)) fail(`REDIS_SERVER_PATH is ${given}, which is no program.`);
} else if (findProgram('redis-server') === undefined) {
  console.error('No redis-server was found: installing it with apt-get.');
  runApt(fail, 'update', '-qq');
  installPackage(fail, 'redis-server');
  if (findProgram('redis-server') === undefined) fail('apt-get installed redis-server, but it is not on the PATH.');
  if (isPackage('valkey-server')) installPackage(fail, 'valkey-server');
}
