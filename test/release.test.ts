import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { plainNode } from './child-process.js';

const root = fileURLToPath(new URL('../', import.meta.url));
const { addressOf, copyForRegistry, publishedFiles, withAbsoluteLinks } = await import(
  `${root}scripts/registry-copy.mjs`
);

/** The address that the documents of an example would have. */
const WEB = 'https://git.example/arc/threads';
const TAG = `v${JSON.parse(readFileSync(join(root, 'packages/thread-core/package.json'), 'utf8')).version}`;

const published = readdirSync(join(root, 'packages')).filter((name) => {
  return JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8')).private !== true;
});

function run(command: string, args: string[], options: { cwd?: string; env?: Record<string, string> } = {}) {
  const env = { ...process.env, ...options.env };
  return spawnSync(command, args, { cwd: options.cwd ?? root, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}

const changesOfTree = (): string => run('git', ['status', '--porcelain']).stdout;

interface Unpacked {
  files: string[];
  read(file: string): string;
}

/** Packs folders, and unpacks the tarballs: what somebody who installs them has. */
function unpack(to: string, folders: readonly string[]): Unpacked[] {
  const packed = Object.values(JSON.parse(run('npm', ['pack', '--json', '--pack-destination', to, ...folders]).stdout));
  return (packed as { filename: string; files: { path: string }[] }[]).map(({ filename, files }) => {
    const folder = join(to, basename(filename, '.tgz'));
    mkdirSync(folder);
    run('tar', ['-xzf', filename, '-C', folder], { cwd: to });
    return {
      files: files.map(({ path }) => path).sort(),
      read: (file) => readFileSync(join(folder, 'package', file), 'utf8'),
    };
  });
}

t.test('the address of a repository is read as people write it, and nothing private of it is published', async (t) => {
  for (const text of [
    WEB,
    `${WEB}/`,
    `${WEB}.git`,
    `git+${WEB}.git`,
    'https://someone:secret@git.example/arc/threads.git?token=secret#secret',
    'git@git.example:arc/threads.git',
    'ssh://git@git.example:2222/arc/threads.git',
  ]) {
    t.strictSame(addressOf(text), { web: WEB, url: `git+${WEB}.git` }, text);
  }
  t.match(addressOf('https://git.example:8443/group/sub/threads'), {
    web: 'https://git.example:8443/group/sub/threads',
  });
  for (const text of [
    '',
    'threads',
    '/srv/git/threads',
    '../threads',
    'file:///srv/threads',
    'https://localhost/a/b',
    WEB.slice(0, -8),
  ]) {
    t.equal(addressOf(text), undefined, text);
  }
});

t.test(
  'relative links become absolute, those of code and of other places stay, and one that leads nowhere is an error',
  async (t) => {
    const where = { web: WEB, ref: 'v1', folder: 'packages/koa-arc' };
    const code = '```js\nconst all = list[0](../../PROTOCOL.md);\n```\n';
    t.equal(
      withAbsoluteLinks(
        `[a](../../PROTOCOL.md#message) ${'\n'}${code}[b](../thread-otel) [c](https://x.example) [d](#e)`,
        where,
      ),
      `[a](${WEB}/blob/v1/PROTOCOL.md#message) ${'\n'}${code}[b](${WEB}/tree/v1/packages/thread-otel) [c](https://x.example) [d](#e)`,
    );
    t.throws(() => withAbsoluteLinks('[a](../../NONE.md)', where), /NONE\.md leads nowhere/);
    t.throws(() => withAbsoluteLinks('[a](../../../x)', where), /leads nowhere/);
  },
);

t.test(
  'the tarballs have the address of the repository, and no relative link, and the work tree stays as it is',
  async (t) => {
    const before = changesOfTree();
    const to = t.testdir({ copies: {}, fromCopies: {}, fromOriginals: {} });
    const folders = published.map((name) => `packages/${name}`);
    const files = publishedFiles(folders);
    const copies = published.map((name) => {
      const destination = join(to, 'copies', name);
      const folder = `packages/${name}`;
      copyForRegistry({ folder, files: files.get(folder), destination, address: addressOf(WEB), commit: 'c0ffee' });
      return destination;
    });
    const all = unpack(join(to, 'fromCopies'), copies);
    const originals = unpack(
      join(to, 'fromOriginals'),
      folders.map((folder) => `./${folder}`),
    );
    t.equal(changesOfTree(), before);
    for (const [index, name] of published.entries()) {
      await t.test(name, async (t) =>
        check(t, `packages/${name}`, all[index] as Unpacked, originals[index] as Unpacked),
      );
    }
  },
);

function check(t: Test, folder: string, copy: Unpacked, original: Unpacked): void {
  t.strictSame(copy.files, original.files);
  const { homepage, bugs, repository, gitHead, ...manifest } = JSON.parse(copy.read('package.json'));
  t.strictSame(
    { homepage, bugs, repository, gitHead },
    {
      homepage: `${WEB}/tree/${TAG}/${folder}#readme`,
      bugs: { url: `${WEB}/issues` },
      repository: { type: 'git', url: `git+${WEB}.git`, directory: folder },
      gitHead: 'c0ffee',
    },
  );
  t.strictSame(manifest, JSON.parse(original.read('package.json')), 'nothing else has changed');
  for (const file of copy.files) {
    if (file === 'package.json' || file === 'README.md') continue;
    if (copy.read(file) !== original.read(file)) t.fail(`${file} has changed`);
  }
  const links = Array.from(copy.read('README.md').matchAll(/\]\(([^)\s]+)\)/g), ([, link = '']) => link);
  t.strictSame(
    links.filter((link) => !/^(https:|#)/.test(link)),
    [],
  );
  for (const link of links.filter((one) => one.startsWith(WEB))) {
    const [, file = ''] = new RegExp(`^${WEB}/(?:blob|tree)/${TAG}/([^#]*)`).exec(link) ?? [];
    t.ok(file !== '' && existsSync(join(root, file)), link);
  }
}

/** Runs a release that must stop before it builds: without a repository that git knows. */
function refused(t: Test, args: string[], env: Record<string, string> = {}): string {
  const nothing = { GIT_DIR: t.testdir(), ARC_REPOSITORY: '', GITHUB_REPOSITORY: '', CI_PROJECT_URL: '' };
  const { execPath, execArgv } = plainNode('scripts/release.mjs', ...args);
  const { status, stdout, stderr } = run(execPath, execArgv, {
    env: { ...nothing, ...env },
  });
  t.equal(status, 1);
  t.equal(stdout, '');
  t.notMatch(stderr, /^> /m, 'nothing was run');
  return stderr;
}

t.test(
  'publishing is refused without an address, with one that is not public, and with another than the CI attests',
  async (t) => {
    const none = refused(t, ['--publish']);
    t.match(none, /--repository <url>, ARC_REPOSITORY or the git remote "origin"/);
    for (const name of published) t.match(none, name);
    t.match(
      refused(t, ['--publish', '--repository', '/srv/git/threads']),
      /"\/srv\/git\/threads" is no public address/,
    );
    t.match(refused(t, [], { ARC_REPOSITORY: 'threads' }), /"threads" is no public address/);
    const ci = { GITHUB_SERVER_URL: 'https://git.example', GITHUB_REPOSITORY: 'someone/fork' };
    t.match(refused(t, ['--publish', '--repository', WEB], ci), /attests https:\/\/git\.example\/someone\/fork/);
    t.match(
      refused(t, ['--publish', '--repository', WEB], { CI_PROJECT_URL: `${WEB}-fork` }),
      /attests .*threads-fork/,
    );
    t.match(refused(t, ['--unknown']), /Unknown option/);
  },
);
