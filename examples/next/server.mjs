import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import next from 'next';

const { PORT = '3000', NODE_ENV, ARC_ENDPOINT = 'http://127.0.0.1:8000/arc', ARC_TOKEN } = process.env;

/** The server listens on a loopback address: no page whose own name was made to point there may use it. */
const LOOPBACK_HOSTS = ['localhost', '127.0.0.1', '[::1]'];

const server = createServer((request, response) => handle(request, response));
const app = next({
  dev: NODE_ENV !== 'production',
  dir: fileURLToPath(new URL('.', import.meta.url)),
  hostname: '127.0.0.1',
  httpServer: server,
});
await app.prepare();
const handle = app.getRequestHandler();

// Next.js adds a listener for upgrades with the first request. It never sees those to /ws.
const relay = createRelay({ endpoint: ARC_ENDPOINT, token: ARC_TOKEN, allowedHosts: LOOPBACK_HOSTS });
serveRelay(server, relay, { path: '/ws' });

server.listen(Number(PORT), '127.0.0.1', () => {
  process.stdout.write(`Open http://127.0.0.1:${server.address().port}\n`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    // Closing the server ends every chat and closes every client with 1001.
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeIdleConnections();
    await relay.close();
    await app.close();
    server.closeAllConnections();
    await closed;
    process.exit(0);
  });
}
