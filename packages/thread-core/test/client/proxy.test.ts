// The recipe of docs/options.md for HTTPS_PROXY, through a real CONNECT proxy.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import net from 'node:net';
import t, { type Test } from 'tap';
import { EnvHttpProxyAgent } from 'undici';
import { answer, connect, DONE, drain, event, failure, piece, START, STREAM } from './support.js';

/** An agent that speaks TLS only. */
async function agent(t: Test): Promise<number> {
  const read = (file: string): Buffer => readFileSync(new URL(`../fixtures/tls/${file}`, import.meta.url));
  const server = createSecureServer({ key: read('key.pem'), cert: read('cert.pem') }, (req, res) => {
    let body = '';
    req.on('data', (chunk: Buffer) => (body += chunk));
    req.on('end', () => {
      if (body.includes('"stream":true')) {
        res.writeHead(200, { 'content-type': 'text/event-stream' }).end(event('content', piece('a')) + DONE);
      } else {
        res.writeHead(200, { 'content-type': 'application/json' }).end(answer().toString().split('\r\n\r\n')[1]);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
}

/** A proxy that opens or refuses tunnels, and a list of the tunnels that were requested. */
async function proxy(t: Test, status = 200): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const sockets: net.Socket[] = [];
  const server = createServer((_req, res) => res.writeHead(400).end());
  server.on('connect', (req, socket: net.Socket) => {
    asked.push(String(req.url));
    sockets.push(socket);
    socket.on('error', () => {});
    if (status !== 200) return socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
    const [host = '', port = ''] = String(req.url).split(':');
    const target = net.connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    sockets.push(target);
    target.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, asked };
}

/** A client whose dispatcher is that of the recipe, with these variables set. */
function client(t: Test, port: number, environment: Record<string, string>) {
  // undici reads NO_PROXY again for each request.
  Object.assign(process.env, environment);
  t.teardown(() => {
    for (const name of Object.keys(environment)) delete process.env[name];
  });
  const dispatcher = new EnvHttpProxyAgent({
    requestTls: { rejectUnauthorized: false },
    connect: { rejectUnauthorized: false },
  });
  t.teardown(() => dispatcher.destroy());
  return connect(t, { url: '' }, { endpoint: `https://127.0.0.1:${port}/arc`, dispatcher });
}

t.test('requests and streams go through the proxy that HTTPS_PROXY names', async (t) => {
  const port = await agent(t);
  const { url, asked } = await proxy(t);
  const own = client(t, port, { HTTPS_PROXY: url });
  t.equal((await own.chat.start(START)).result.chat.chatId, 'c1');
  const { events } = await drain(await own.chat.start(STREAM));
  t.match(events, [{ event: 'content' }, { event: 'done' }]);
  t.ok(asked.length > 0 && asked.every((target) => target === `127.0.0.1:${port}`));
});

t.test('hosts in NO_PROXY are connected directly', async (t) => {
  const port = await agent(t);
  const { url, asked } = await proxy(t);
  const own = client(t, port, { HTTPS_PROXY: url, NO_PROXY: '127.0.0.1' });
  t.equal((await own.chat.start(START)).result.chat.chatId, 'c1');
  t.same(asked, []);
});

t.test('a proxy that refuses the tunnel is an error of -41003, and nothing was sent', async (t) => {
  const port = await agent(t);
  const { url, asked } = await proxy(t, 407);
  const own = client(t, port, { HTTPS_PROXY: url });
  t.match(await failure(own.chat.start(START)), { code: -41003, reason: /the proxy refused the connection/ });
  t.equal(asked.length, 1);
});
