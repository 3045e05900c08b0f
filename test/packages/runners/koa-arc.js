import { once } from 'node:events';
import Koa from 'koa';
import arc from 'koa-arc';

export async function createApp(endpoint) {
  const app = new Koa();
  app.use(arc({ app, path: '/ws', endpoint }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: server.address().port, close: () => new Promise((resolve) => server.close(resolve)) };
}
