import type { Server } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import { createAdaptorServer, upgradeWebSocket } from '@hono/node-server';
import { Hono } from 'hono';
import { WebSocketServer } from 'ws';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  const app = new Hono();
  // A WebSocket of Hono's own, beside the relay's.
  app.get(
    '/echo',
    upgradeWebSocket(() => ({ onMessage: ({ data }, socket) => socket.send(String(data)) })),
  );
  app.get('*', (c) => {
    const found = asset(c.req.path);
    return found === undefined ? c.notFound() : c.body(new Uint8Array(found.body), 200, found.headers);
  });

  const sockets = new WebSocketServer({ noServer: true });
  // The type names HTTP/2 servers as well; without further options it is a server of node:http.
  const server = createAdaptorServer({ fetch: app.fetch, websocket: { server: sockets } }) as Server;

  const relay = createRelay({
    endpoint: agent.endpoint,
    token: agent.token,
    allowedHosts,
    agents,
    stream,
    resume: true,
  });
  serveRelay(server, relay, { path: '/ws' });

  server.listen(port, host);

  // Closing the server ends every chat and every WebSocket; the agent has to be there until that is done.
  return { server, close: [() => closeServer(server), agent.close] };
});
