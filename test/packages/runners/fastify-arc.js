import Fastify from 'fastify';
import arc from 'fastify-arc';

export async function createApp(endpoint) {
  const app = Fastify();
  await app.register(arc, { endpoint });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return { port: app.server.address().port, close: () => app.close() };
}
