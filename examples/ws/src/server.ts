import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import { WebSocketServer } from 'ws';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  const server = createServer((req, res) => {
    const found = asset(req.url ?? '/');
    if (found === undefined) res.writeHead(404).end();
    else res.writeHead(200, found.headers).end(found.body);
  });

  const relay = createRelay({
    endpoint: agent.endpoint,
    token: agent.token,
    allowedHosts,
    agents,
    stream,
    resume: true,
  });

  // Any `ws` server will do. The relay asks who it is after the upgrade, and closes with 4401 or 4403.
  const sockets = new WebSocketServer({ server, path: '/ws', ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));

  server.listen(port, host);

  // A bare server knows nothing of the relay: it is closed first, and the agent last.
  return { server, close: [() => relay.close(), () => closeServer(server), agent.close] };
});
