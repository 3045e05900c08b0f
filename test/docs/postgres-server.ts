import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '@arc/test-client';

/** Where Debian puts the programs of the server, by version. */
const DEBIAN = '/usr/lib/postgresql';

function program(name: string): string {
  const onPath = spawnSync(name, ['--version']).status === 0;
  if (onPath) return name;
  const [version] = readdirSync(DEBIAN).sort().reverse();
  return join(DEBIAN, `${version}`, 'bin', name);
}

/** Postgres refuses to run as root: then it runs as the user that Debian's package has made. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout);
  return { uid: id('-u'), gid: id('-g') };
}

/** A Postgres server of a test's own, on a port and in a folder of its own. */
export class PostgresServer {
  readonly url: string;
  readonly #folder: string;
  readonly #process: ChildProcess;

  static async start(): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), 'arc-postgres-'));
    const user = unprivileged();
    if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid);
    const data = join(folder, 'data');
    const init = ['--pgdata', data, '--username', 'test', '--auth', 'trust', '--no-sync', '--encoding', 'UTF8'];
    const { status, stderr } = spawnSync(program('initdb'), init, { ...user, cwd: folder, encoding: 'utf8' });
    if (status !== 0) throw new Error(`initdb failed: ${stderr}`);
    const port = await freePort();
    const args = [
      '-D',
      data,
      '-p',
      `${port}`,
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      `unix_socket_directories=${folder}`,
    ];
    const child = spawn(program('postgres'), args, { ...user, cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    const said: string[] = [];
    const lines = createInterface({ input: child.stderr });
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`postgres exited with ${code}:\n${said.join('\n')}`)));
      lines.on('line', (line) => {
        said.push(line);
        if (line.includes('ready to accept connections')) resolve();
      });
    });
    return new PostgresServer(`postgres://test@127.0.0.1:${port}/postgres`, folder, child);
  }

  private constructor(url: string, folder: string, child: ChildProcess) {
    this.url = url;
    this.#folder = folder;
    this.#process = child;
  }

  /** Ends it, and its connections with it. */
  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const exit = once(this.#process, 'exit');
      this.#process.kill('SIGINT');
      await exit;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
