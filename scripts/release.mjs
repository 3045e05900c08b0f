// npm run release [-- --publish]     rehearses a release: everything that publishing would do, up to the upload.
//
// A release, step by step:
//   1. `npm run changeset -- version`: applies .changeset/*.md to the versions and the changelogs of the packages. The constants
//      in src/version.ts are changed by hand.
//   2. `npm run release`: this rehearsal. Commit, and tag the commit v<version>.
//   3. In CI, on that tag: `npm run release -- --publish`, with provenance, which says from which commit and which workflow
//      a tarball comes. npm can only attest that in a CI that it knows (`id-token: write`), so it refuses it elsewhere.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const isPublished = process.argv.includes('--publish');

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

/** The public packages, each after those that it depends on. */
function inOrder() {
  const manifests = new Map();
  for (const name of readdirSync(join(root, 'packages'))) {
    const manifest = JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
    if (manifest.private !== true) manifests.set(manifest.name, { ...manifest, folder: `./packages/${name}` });
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

const packages = inOrder();
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
  // The registry compares it with what the CI attests.
  const unnamed = packages.filter(({ repository }) => repository === undefined);
  if (unnamed.length > 0) {
    fail(`--provenance needs \`repository\` in package.json: ${unnamed.map(({ name }) => name).join(', ')}`);
  }
}

run('npm', 'run', 'build');
run('npm', 'run', 'check');
for (const { folder } of packages) {
  const how = isPublished ? ['--provenance'] : ['--dry-run'];
  run('npm', 'publish', folder, '--access', 'public', ...how);
}
process.stdout.write(
  `${isPublished ? 'Published' : 'Rehearsed'} ${version}: ${packages.map(({ name }) => name).join(', ')}\n`,
);
