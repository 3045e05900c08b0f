import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import express from 'express';
import arc from 'express-arc';
import expressWs from 'express-ws';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  const relay = arc({ endpoint: agent.endpoint, token: agent.token, allowedHosts, agents, stream, resume: true });

  // express-ws accepts before any middleware runs: only `verifyClient` can refuse with an HTTP status.
  const { app } = expressWs(express(), undefined, {
    wsOptions: { ...relay.relay.wsOptions, verifyClient: relay.verifyClient },
  });

  app.use('/ws', relay);

  // The app's own route, which still works beside the relay.
  app.ws('/echo', (socket) => socket.on('message', (message) => socket.send(message)));

  app.use((req, res, next) => {
    const found = asset(req.path);
    if (found === undefined) next();
    else res.set(found.headers).send(found.body);
  });

  const server = app.listen(port, host);

  // Closing the server ends every chat and every WebSocket of the relay; the agent has to be there until that is done.
  return { server, close: [() => closeServer(server), agent.close] };
});
