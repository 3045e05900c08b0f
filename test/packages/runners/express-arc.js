import { once } from 'node:events';
import express from 'express';
import arc from 'express-arc';

export async function createApp(endpoint) {
  const app = express();
  app.use('/ws', arc({ endpoint }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: server.address().port, close: () => new Promise((resolve) => server.close(resolve)) };
}
