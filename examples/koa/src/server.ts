import { closeServer, pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import Koa from 'koa';
import arc from 'koa-arc';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  const app = new Koa();

  app.use(
    arc({ app, path: '/ws', endpoint: agent.endpoint, token: agent.token, allowedHosts, agents, stream, resume: true }),
  );

  app.use((ctx) => {
    const found = asset(ctx.path);
    if (found === undefined) return;
    ctx.set(found.headers);
    ctx.body = found.body;
  });

  const server = app.listen(port, host);

  // Closing the server ends every chat and every WebSocket; the agent has to be there until that is done.
  return { server, close: [() => closeServer(server), agent.close] };
});
