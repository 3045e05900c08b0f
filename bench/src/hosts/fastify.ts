import fastify from 'fastify';
import fastifyArc from 'fastify-arc';
import { listen } from './listen.js';
import { type Endpoints, relayOptions } from './options.js';

export async function start(endpoints: Endpoints): Promise<number> {
  const app = fastify();
  await app.register(fastifyArc, { path: '/ws', ...relayOptions(endpoints) });
  await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  return listen(app.server);
}
