import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { serveRelay } from '@arc/thread-core/host';
import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';

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
  serveRelay(server, relay, { path: '/ws' });

  server.listen(port, host);

  // Closing the server ends every chat and every WebSocket; the agent has to be there until that is done.
  return { server, close: [() => closeServer(server), agent.close] };
});
