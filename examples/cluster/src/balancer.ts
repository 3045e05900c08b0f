import { createServer, type IncomingMessage, type Server, type ServerResponse, request as send } from 'node:http';
import { connect } from 'node:net';

/** A balancer without affinity: each request and each WebSocket goes to the next node. */
export function createBalancer(
  ports: () => readonly number[],
  answer: (req: IncomingMessage, res: ServerResponse) => boolean,
): Server {
  let turn = 0;
  const next = (): number | undefined => {
    const running = ports();
    turn += 1;
    return running[turn % running.length];
  };

  const server = createServer((req, res) => {
    if (answer(req, res)) return;
    const port = next();
    const fail = (): unknown => (res.headersSent ? res.destroy() : res.writeHead(502).end());
    if (port === undefined) return void fail();
    const { method, url, headers } = req;
    const upstream = send({ host: '127.0.0.1', port, method, path: url, headers }, (reply) => {
      res.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(res);
    });
    upstream.on('error', fail);
    req.pipe(upstream);
  });

  server.on('upgrade', (req, socket, head) => {
    const port = next();
    socket.on('error', () => undefined);
    if (port === undefined) return void socket.destroy();
    const upstream = connect(port, '127.0.0.1');
    upstream.on('error', () => undefined);
    upstream.on('close', () => socket.destroy());
    socket.on('close', () => upstream.destroy());
    const lines = [`${req.method} ${req.url} HTTP/1.1`];
    for (let at = 0; at < req.rawHeaders.length; at += 2)
      lines.push(`${req.rawHeaders[at]}: ${req.rawHeaders[at + 1]}`);
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`);
    upstream.write(head);
    socket.pipe(upstream).pipe(socket);
  });
  return server;
}
