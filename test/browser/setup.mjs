// Prints the path of a Chromium, and installs one where there is none and it can be done without asking.
import { findProgram, installPackage, isProgram, runApt } from '../../scripts/programs.mjs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

function fail(problem) {
  console.error(`${problem}\nThe browser test needs Chromium: install it, or set CHROMIUM_PATH to the program.`);
  process.exit(1);
}

function findChromium() {
  return NAMES.map(findProgram).find((path) => path !== undefined);
}

const given = process.env.CHROMIUM_PATH;
if (given !== undefined && given !== '') {
  if (!isProgram(given)) fail(`CHROMIUM_PATH is ${given}, which is no program.`);
  console.log(given);
} else {
  if (findChromium() === undefined) {
    console.error('No Chromium was found: installing it with apt-get.');
    runApt(fail, 'update', '-qq');
    installPackage(fail, 'chromium');
  }
  console.log(findChromium() ?? fail('apt-get installed Chromium, but it is not on the PATH.'));
}
