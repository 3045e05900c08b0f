// Installs nginx, Postgres and Python's package websockets where they are missing and it can be done without asking.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const works = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;

function fail(problem) {
  console.error(`${problem}\nThe tests need nginx, a Postgres server, and a python3 with the package websockets.`);
  process.exit(1);
}

function install(...packages) {
  if (!works('apt-get', '--version')) fail(`No apt-get was found to install ${packages.join(', ')} with.`);
  console.error(`Installing ${packages.join(', ')} with apt-get.`);
  const isRoot = process.getuid?.() === 0;
  // The packages would start servers of their own, which no test needs.
  const environment = ['env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1'];
  for (const args of [
    ['update', '-qq'],
    ['install', '-qq', '-y', '--no-install-recommends', ...packages],
  ]) {
    const [program, ...rest] = [...(isRoot ? [] : ['sudo', '-n']), ...environment, 'apt-get', ...args];
    if (spawnSync(program, rest, { stdio: ['ignore', 2, 2] }).status !== 0) fail(`apt-get ${args[0]} failed.`);
  }
}

// Debian's python3 may not be the first on the PATH.
const pythons = [process.env.PYTHON_PATH ?? 'python3', '/usr/bin/python3'];
const missing = [];
if (!works('nginx', '-v') && !works('/usr/sbin/nginx', '-v')) missing.push('nginx');
if (!pythons.some((python) => works(python, '-c', 'import websockets'))) missing.push('python3-websockets');
// Debian's programs of the server are not on the PATH.
if (!works('initdb', '--version') && !existsSync('/usr/lib/postgresql')) missing.push('postgresql');
if (missing.length > 0) install(...missing);
