import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { UsageError } from '@arc-examples/web';

export interface RunningRedis {
  url: string;
  close(): Promise<void>;
}

/** The Redis server of REDIS_URL. Without it, one that is started here and stores nothing on disk. */
export async function startRedisUnlessGiven(url = process.env.REDIS_URL): Promise<RunningRedis> {
  if (url !== undefined && url !== '') return { url, close: async () => undefined };
  const port = await freePort();
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', tmpdir(), '--save', ''];
  const program = process.env.REDIS_SERVER_PATH || 'redis-server';
  // In a group of its own, so that Ctrl-C does not stop it before the nodes.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  await ready(child);
  const close = async (): Promise<void> => {
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
  };
  return { url: `redis://127.0.0.1:${port}`, close };
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = '';
    child.once('error', () => reject(new UsageError('redis-server was not found: install it, or set REDIS_URL')));
    child.once('exit', () => reject(new UsageError(`redis-server has exited:\n${output}`)));
    child.stdout?.on('data', (chunk) => {
      output = `${output}${chunk}`.slice(-10_000);
      if (output.includes('Ready to accept connections')) resolve();
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
