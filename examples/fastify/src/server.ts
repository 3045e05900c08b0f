import { pageAssets, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import Fastify from 'fastify';
import arc from 'fastify-arc';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const asset = pageAssets(environment);

  // Browsers open connections in advance: without `forceCloseConnections` closing waits a minute for their first request.
  const app = Fastify({ logger: { level: 'warn' }, forceCloseConnections: true });

  await app.register(arc, {
    path: '/ws',
    endpoint: agent.endpoint,
    token: agent.token,
    allowedHosts,
    agents,
    stream,
    resume: true,
  });

  app.get('/*', (request, reply) => {
    const found = asset(request.url);
    return found === undefined ? reply.callNotFound() : reply.headers(found.headers).send(found.body);
  });

  await app.listen({ port, host });

  // Closing the app ends every chat and every WebSocket; the agent has to be there until that is done.
  return { server: app.server, close: [() => app.close(), agent.close] };
});
