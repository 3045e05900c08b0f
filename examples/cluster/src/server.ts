import type { IncomingMessage, ServerResponse } from 'node:http';
import { closeServer, readEnvironment, runUntilSignal, startAgentUnlessGiven } from '@arc-examples/web';
import { createBalancer } from './balancer.js';
import { startRedisUnlessGiven } from './redis.js';
import { Supervisor } from './supervisor.js';

await runUntilSignal(async () => {
  const environment = readEnvironment();
  const { port, host, allowedHosts, agents, stream } = environment;
  const agent = await startAgentUnlessGiven(environment);
  const redis = await startRedisUnlessGiven();

  const { endpoint, token } = agent;
  const supervisor = new Supervisor({ redis: redis.url, endpoint, token, allowedHosts, agents, stream });
  await Promise.all(['one', 'two', 'three'].map((name) => supervisor.start(name)));

  /** What the page's footer asks for: GET /nodes, and POST /nodes/one to kill that node. */
  function answer(req: IncomingMessage, res: ServerResponse): boolean {
    const [, folder, name] = req.url?.split('/') ?? [];
    if (folder !== 'nodes') return false;
    // Only the page itself: not other sites, and no page whose own name was made to point here.
    const isOwn = req.headers['sec-fetch-site'] === 'same-origin' && isAllowed(req.headers.host);
    if (name === undefined) res.setHeader('content-type', 'application/json').end(JSON.stringify(supervisor.nodes));
    else if (req.method !== 'POST' || !isOwn) res.writeHead(403).end();
    else res.writeHead(supervisor.kill(name) ? 204 : 404).end();
    return true;
  }

  function isAllowed(hostHeader = ''): boolean {
    return allowedHosts === undefined || allowedHosts.includes(hostHeader.replace(/:\d+$/, ''));
  }

  const server = createBalancer(() => supervisor.ports, answer);
  server.listen(port, host);
  return { server, close: [() => supervisor.stop(), () => closeServer(server), agent.close, redis.close] };
});
