import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));

/** Other versions than those of an example's package.json, by the beginning of a package's name. */
export type Versions = Readonly<Record<string, string>>;

/** Projects outside of this repository, with its packages as they would be published. */
export class Installer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'arc-hosts-'));
  #tarballs: Promise<string[]> | undefined;

  /** Installs an example from the registry. Resolves to its folder and the versions that were installed. */
  async install(example: string, versions: Versions = {}): Promise<{ folder: string; installed: string }> {
    this.#tarballs ??= this.#pack();
    const folder = mkdtempSync(join(this.#folder, `${example}-`));
    cpSync(join(root, 'examples', example), folder, {
      recursive: true,
      filter: (path) => !/\/(node_modules|dist|\.next)(\/|$)/.test(path.slice(root.length)),
    });
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    for (const name of Object.keys(manifest.dependencies)) {
      const start = Object.keys(versions).find((one) => name.startsWith(one));
      if (start !== undefined) manifest.dependencies[name] = versions[start] as string;
      if (name.startsWith('@arc/')) delete manifest.dependencies[name];
    }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
    await this.run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--silent', ...(await this.#tarballs));
    const { stdout } = await exec('npm', ['ls', '--depth', '0', '--parseable', '--long'], { cwd: folder });
    return { folder, installed: stdout.replace(/^.*:/gm, '').trim().split('\n').slice(1).join(' ') };
  }

  /** Runs a command in a folder. Rejects with everything that it printed where it fails. */
  async run(folder: string, command: string, ...args: string[]): Promise<void> {
    const options = { cwd: folder, env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' }, timeout: 300_000 };
    await exec(command, args, options).catch((error: Error & { stdout: string; stderr: string }) => {
      throw new Error(`${command} ${args.join(' ')}: ${error.message}\n${error.stdout}${error.stderr}`);
    });
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #pack(): Promise<string[]> {
    const target = join(this.#folder, 'tarballs');
    mkdirSync(target);
    const packages = ['thread-protocol', 'thread-core'].map((name) => `./packages/${name}`);
    const { stdout } = await exec('npm', ['pack', '--json', '--pack-destination', target, ...packages], { cwd: root });
    const packed = Object.values(JSON.parse(stdout) as Record<string, { filename: string }>);
    return packed.map(({ filename }) => join(target, filename));
  }
}
