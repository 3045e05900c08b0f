// npm run release [-- --publish] [--repository <url>]     rehearses a release: everything that publishing would do, up to the upload.
//
// What is packed is a copy of each package, to which the public address of the repository is added (registry-copy.mjs).
//
// A release, step by step:
//   1. `npm run changeset -- version`: applies .changeset/*.md to the versions and the changelogs of the packages. The constants
//      in src/version.ts are changed by hand.
//   2. `npm run release`: this rehearsal. Commit, and tag the commit v<version>.
//   3. In CI, on that tag: `npm run release -- --publish`, with provenance, which says from which commit and which workflow
//      a tarball comes. npm can only attest that in a CI that it knows (`id-token: write`), so it refuses it elsewhere.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { addressOf, copyForRegistry, publishedFiles } from './registry-copy.mjs';

const root = fileURLToPath(new URL('../', import.meta.url));

function fail(problem) {
  process.stderr.write(`${problem}\n`);
  process.exit(1);
}

function run(command, ...args) {
  process.stderr.write(`> ${command} ${args.join(' ')}\n`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) fail(`${command} ${args.join(' ')} failed: nothing after it was done.`);
}

const outputOf = (command, ...args) => spawnSync(command, args, { cwd: root, encoding: 'utf8' }).stdout.trim();

function readOptions() {
  try {
    return parseArgs({ options: { publish: { type: 'boolean', default: false }, repository: { type: 'string' } } })
      .values;
  } catch (error) {
    return fail(error.message);
  }
}

/** The public address of the repository; undefined if none is known. */
function findAddress(given) {
  const text = given ?? process.env.ARC_REPOSITORY;
  if (!text) return addressOf(outputOf('git', 'remote', 'get-url', 'origin'));
  return addressOf(text) ?? fail(`"${text}" is no public address of a repository, such as https://host/owner/name.`);
}

/** The repository that a CI will attest: npm's registry rejects a tarball whose package.json names another. */
function attestedRepository({ GITHUB_SERVER_URL, GITHUB_REPOSITORY, CI_PROJECT_URL }) {
  return GITHUB_REPOSITORY ? `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}` : CI_PROJECT_URL || undefined;
}

/** The public packages, each after those that it depends on. */
function inOrder() {
  const manifests = new Map();
  for (const name of readdirSync(join(root, 'packages'))) {
    const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
    if (manifest.private !== true) manifests.set(manifest.name, { ...manifest, folder: `packages/${name}` });
  }
  const ordered = new Set();
  const add = (manifest) => {
    for (const field of ['dependencies', 'peerDependencies']) {
      for (const [name, range] of Object.entries(manifest[field] ?? {})) {
        const other = manifests.get(name);
        if (other === undefined) continue;
        if (!range.includes(other.version))
          fail(`${manifest.name} asks for ${name} ${range}, which is ${other.version}.`);
        add(other);
      }
    }
    ordered.add(manifest);
  };
  for (const manifest of manifests.values()) add(manifest);
  return [...ordered];
}

const { publish: isPublished, repository } = readOptions();
const packages = inOrder();
const address = findAddress(repository);
if (isPublished) {
  if (address === undefined) {
    fail(
      'Publishing needs the public address of the repository: --repository <url>, ARC_REPOSITORY or the git remote "origin". ' +
        `Not published: ${packages.map(({ name }) => name).join(', ')}.`,
    );
  }
  const attested = attestedRepository(process.env);
  if (attested !== undefined && attested.toLowerCase() !== address.web.toLowerCase()) {
    fail(`The CI attests ${attested}, and not ${address.web}: the registry would reject the provenance.`);
  }
}

const versions = new Set(packages.map(({ version }) => version));
if (versions.size !== 1) fail(`The packages have different versions: ${[...versions].join(', ')}`);
const [version] = versions;

for (const { folder, name } of packages) {
  const path = join(root, folder, 'src/version.ts');
  if (existsSync(path) && !readFileSync(path, 'utf8').includes(`'${version}'`)) {
    fail(`${name}: src/version.ts is not of version ${version}.`);
  }
}

if (outputOf('git', 'status', '--porcelain') !== '') fail('Commit everything first: a release is made of a commit.');
if (isPublished) {
  const pending = readdirSync(join(root, '.changeset')).filter((file) => file.endsWith('.md') && file !== 'README.md');
  if (pending.length > 0) fail(`There are changesets that no version has: ${pending.join(', ')}`);
  const tags = outputOf('git', 'tag', '--points-at', 'HEAD').split('\n');
  if (!tags.includes(`v${version}`)) fail(`HEAD has no tag v${version}.`);
}
if (address === undefined) {
  process.stderr.write('No public address is known (--repository <url>): the packages are rehearsed without one.\n');
}

run('npm', 'run', 'build');
run('npm', 'run', 'check');
const copies = mkdtempSync(join(tmpdir(), 'arc-release-'));
process.on('exit', () => rmSync(copies, { recursive: true, force: true }));
const commit = outputOf('git', 'rev-parse', 'HEAD');
// All of them before the first is uploaded: what is wrong with the last one must not stop a release halfway.
const published = publishedFiles(packages.map(({ folder }) => folder));
const destinations = packages.map(({ folder }) => {
  const destination = join(copies, basename(folder));
  mkdirSync(destination);
  copyForRegistry({ folder, files: published.get(folder), destination, address, commit });
  return destination;
});
for (const destination of destinations) {
  const how = isPublished ? ['--provenance'] : ['--dry-run'];
  run('npm', 'publish', destination, '--access', 'public', ...how);
}
process.stdout.write(
  `${isPublished ? 'Published' : 'Rehearsed'} ${version}: ${packages.map(({ name }) => name).join(', ')}\n`,
);
