import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import express from 'express';
import arc from 'express-arc';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  const app = express();

  app.use('/ws', arc({ endpoint: agent.endpoint, token: agent.token, allowedHosts, agents, stream, resume: true }));

  app.use((req, res, next) => {
    const found = asset(req.path);
    if (found === undefined) next();
    else res.set(found.headers).send(found.body);
  });

  const server = app.listen(port, host);

  // Closing the server ends every chat and every WebSocket; the agent has to be there until that is done.
  return { server, close: [() => closeServer(server), agent.close] };
});
