// Prints the path of a Chromium, and installs one where there is none and it can be done without asking.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function onPath(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function fail(problem) {
  console.error(`${problem}\nThe browser test needs Chromium: install it, or set CHROMIUM_PATH to the program.`);
  process.exit(1);
}

function findChromium() {
  return NAMES.map(onPath).find((path) => path !== undefined);
}

function installChromium() {
  if (onPath('apt-get') === undefined) fail('No Chromium was found, and no apt-get to install it with.');
  const isRoot = process.getuid?.() === 0;
  const run = (...command) => {
    const [program, ...args] = isRoot ? command : ['sudo', '-n', ...command];
    // Standard output is for the path alone.
    const { status, error } = spawnSync(program, args, { stdio: ['ignore', 2, 2] });
    if (error !== undefined || status !== 0)
      fail(`"${command.join(' ')}" failed${isRoot ? '' : ' (with sudo, as this is not root)'}.`);
  };
  console.error('No Chromium was found: installing it with apt-get.');
  run('apt-get', 'update', '-qq');
  run(
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    'install',
    '-qq',
    '-y',
    '--no-install-recommends',
    'chromium',
  );
}

const given = process.env.CHROMIUM_PATH;
if (given !== undefined && given !== '') {
  if (!isProgram(given)) fail(`CHROMIUM_PATH is ${given}, which is no program.`);
  console.log(given);
} else {
  if (findChromium() === undefined) installChromium();
  console.log(findChromium() ?? fail('apt-get installed Chromium, but it is not on the PATH.'));
}
