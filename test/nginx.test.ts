import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, closeServer, portOf, runCoreContract, selfSigned, until } from '@arc/host-contract';
import { freePort } from '@arc/test-client';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { startTestAgent } from '@arc/thread-core/testing';
import t from 'tap';
import { Example } from './browser/example.js';

const recipe = readFileSync(new URL('../examples/nginx/relay.conf', import.meta.url), 'utf8');

/** Whether a server listens on a port. */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const settle = (is: boolean) => () => {
      socket.destroy();
      resolve(is);
    };
    socket.once('connect', settle(true)).once('error', settle(false));
  });
}

/** nginx with the recipe, in front of a port. */
class Nginx {
  readonly #process: ChildProcess;
  readonly #folder: string;
  #output = '';

  private constructor(
    folder: string,
    readonly port: number,
    readonly securePort: number,
  ) {
    this.#folder = folder;
    this.#process = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'], {
      env: { PATH: `${process.env.PATH}:/usr/sbin` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process.on('error', (error) => {
      this.#output += String(error);
    });
    this.#process.stderr?.on('data', (chunk) => {
      this.#output += String(chunk);
    });
  }

  /** `readTimeout` is its `proxy_read_timeout`. */
  static async start(app: number, { readTimeout = '60s' } = {}): Promise<Nginx> {
    const [port, securePort] = [await freePort(), await freePort()];
    const folder = mkdtempSync(join(tmpdir(), 'arc-nginx-'));
    const ports: Record<string, number> = { 8080: port, 8443: securePort, 3000: app };
    const site = recipe
      .replace(/127\.0\.0\.1:(\d+)/g, (_address, known: string) => `127.0.0.1:${ports[known]}`)
      .replace(/proxy_read_timeout \w+/, `proxy_read_timeout ${readTimeout}`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'scgi', 'uwsgi'].map(
      (name) => `${name}_temp_path ${folder}/${name};`,
    );
    writeFileSync(
      join(folder, 'nginx.conf'),
      `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
       events {}
       http { access_log off; ${temporary.join(' ')}
       ${site} }`,
    );
    writeFileSync(join(folder, 'cert.pem'), selfSigned.cert);
    writeFileSync(join(folder, 'key.pem'), selfSigned.key);
    const nginx = new Nginx(folder, port, securePort);
    await until(
      () => listens(port),
      () => `nginx listens; it wrote: ${nginx.#output}`,
      30_000,
    );
    return nginx;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null) {
      const exited = once(this.#process, 'close');
      this.#process.kill();
      await exited;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

runCoreContract(t, {
  name: 'behind nginx, on another port and below a prefix',
  page: '/',
  async start({ endpoint, token }) {
    const example = new Example('http', { ARC_ENDPOINT: endpoint, ARC_TOKEN: token, ARC_STREAM: 'false' });
    const nginx = await Nginx.start(Number(new URL(await example.url).port));
    const stop = async (): Promise<number | null> => {
      const { code } = await example.stop();
      await nginx.stop();
      return code;
    };
    return { port: nginx.port, path: '/chat/ws', stop };
  },
});

t.test('behind nginx with TLS, its own pages are admitted, and those of another port are not', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const server = await relayServer(agent.endpoint);
  const nginx = await Nginx.start(portOf(server));
  t.teardown(async () => {
    await closeServer(server);
    await nginx.stop();
  });
  const url = `wss://127.0.0.1:${nginx.securePort}/chat/ws`;
  const options = { ca: selfSigned.cert };
  const client = await Client.open(url, { ...options, origin: `https://127.0.0.1:${nginx.securePort}` });
  t.equal(await client.say('a'), 'a #1: hello');
  t.equal((await new Client(url, { ...options, origin: `https://127.0.0.1:${nginx.port}` }).closed).code, 1006);
});

t.test('pings that come more often than proxy_read_timeout keep an idle connection open', async (t) => {
  const agent = await startTestAgent();
  t.teardown(() => agent.close());
  const [pinging, silent] = [await relayServer(agent.endpoint, 200), await relayServer(agent.endpoint, 0)];
  const proxies = [
    await Nginx.start(portOf(pinging), { readTimeout: '1s' }),
    await Nginx.start(portOf(silent), { readTimeout: '1s' }),
  ] as const;
  t.teardown(async () => {
    await Promise.all([closeServer(pinging), closeServer(silent)]);
    await Promise.all(proxies.map((nginx) => nginx.stop()));
  });
  const open = ({ port }: Nginx): Promise<Client> => Client.open(`ws://127.0.0.1:${port}/chat/ws`);
  const kept = await open(proxies[0]);
  const cut = await open(proxies[1]);
  t.equal((await cut.closed).code, 1006, 'nginx closes the connection of the relay without pings');
  t.equal(await kept.say('a'), 'a #1: hello', 'the other is open still');
});

async function relayServer(endpoint: string, heartbeat = 25_000): Promise<Server> {
  const server = createServer((_request, response) => response.writeHead(404).end());
  serveRelay(server, createRelay({ endpoint, heartbeat }), { path: '/ws' });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
