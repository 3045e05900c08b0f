// What is uploaded of a package: a copy of its files that has the public address of the repository. Nothing in the work tree is
// written: a fork, a mirror or an interrupted release leaves no address behind.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));

/** What a public address begins with: browsers open its https form. */
const PROTOCOLS = new Set(['https:', 'ssh:', 'git+https:', 'git+ssh:']);

/**
 * Reads the address of a repository, as a person or `git remote` writes it: https, ssh, or `git@host:owner/name`. User, password
 * and query are left out, because what is returned is published.
 *
 * @param {string} text
 * @returns {{ web: string, url: string } | undefined} `web` is for browsers, `url` for package.json; undefined if it is no public address.
 */
export function addressOf(text) {
  const [, host, path] = /^(?:[\w.-]+@)?([\w.-]+\.[\w-]+):(?!\/)(.+)$/.exec(text) ?? [];
  const address = host === undefined ? text : `ssh://${host}/${path}`;
  if (!URL.canParse(address)) return undefined;
  const { protocol, hostname, port, pathname } = new URL(address);
  const name = pathname
    .replace(/^\/+/, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/, '');
  if (!PROTOCOLS.has(protocol) || !hostname.includes('.') || !/^[^/]+(\/[^/]+)+$/.test(name)) return undefined;
  // A port of ssh is no port of a web server.
  const server = port !== '' && protocol.endsWith('https:') ? `${hostname}:${port}` : hostname;
  const web = `https://${server}/${name}`;
  return { web, url: `git+${web}.git` };
}

/**
 * Makes the relative links of a document absolute: a registry shows it without the files beside it. Links in blocks of code stay.
 *
 * @param {string} text
 * @param {{ web: string, ref: string, folder: string }} where The document's folder, relative to the repository, and the commit or tag.
 * @throws {Error} if a link leads to nothing that the repository has.
 */
export function withAbsoluteLinks(text, { web, ref, folder }) {
  return text
    .split(/^(```.*?^```$)/ms)
    .map((part, index) => (index % 2 === 1 ? part : part.replace(/\]\(([^)\s]+)\)/g, absolute)))
    .join('');

  function absolute(link, target) {
    if (/^(?:[a-z]+:|#|\/\/)/i.test(target)) return link;
    const [path, anchor] = target.split('#');
    const file = posix.join(folder, path);
    if (file.startsWith('..') || !existsSync(join(root, file))) throw new Error(`${folder}: ${target} leads nowhere.`);
    const kind = statSync(join(root, file)).isDirectory() ? 'tree' : 'blob';
    return `](${web}/${kind}/${ref}/${file}${anchor === undefined ? '' : `#${anchor}`})`;
  }
}

/**
 * The files that packages publish, by the folder of each. npm is asked once for all of them: its start takes longer than the rest.
 *
 * @param {readonly string[]} folders Relative to the repository.
 * @returns {Map<string, string[]>}
 */
export function publishedFiles(folders) {
  const args = ['pack', '--dry-run', '--json', ...folders.map((folder) => `./${folder}`)];
  const packed = spawnSync('npm', args, { cwd: root, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (packed.status !== 0) throw new Error(`npm pack ${folders.join(' ')}: ${packed.stderr}`);
  const all = Object.values(JSON.parse(packed.stdout));
  const names = folders.map((folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')).name);
  return new Map(
    folders.map((folder, index) => {
      const { files } = all.find(({ name }) => name === names[index]);
      return [folder, files.map(({ path }) => path)];
    }),
  );
}

/**
 * Copies what a package publishes to a folder.
 *
 * @param {{ folder: string, files: readonly string[], destination: string, address?: { web: string, url: string }, commit?: string }} options
 *   The package's folder, relative to the repository, and its published files. Without an address the copy is the package as it is.
 */
export function copyForRegistry({ folder, files, destination, address, commit }) {
  for (const path of files) {
    const target = join(destination, path);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(join(root, folder, path), target);
  }
  if (address === undefined) return;
  const manifestPath = join(destination, 'package.json');
  const manifest = JSON.parse(readFileSync(manifestPath, 'utf8'));
  const ref = `v${manifest.version}`;
  Object.assign(manifest, {
    homepage: `${address.web}/tree/${ref}/${folder}#readme`,
    bugs: { url: `${address.web}/issues` },
    repository: { type: 'git', url: address.url, directory: folder },
    // npm finds the commit only in a work tree.
    ...(commit !== undefined && { gitHead: commit }),
  });
  writeFileSync(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
  const readmePath = join(destination, 'README.md');
  const readme = readFileSync(readmePath, 'utf8');
  writeFileSync(readmePath, withAbsoluteLinks(readme, { web: address.web, ref, folder }));
}
