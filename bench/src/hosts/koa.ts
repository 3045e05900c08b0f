import Koa from 'koa';
import arc from 'koa-arc';
import { listen } from './listen.js';
import { type Endpoints, relayOptions } from './options.js';

export function start(endpoints: Endpoints): Promise<number> {
  const app = new Koa();
  app.use(arc({ app, path: '/ws', ...relayOptions(endpoints) }));
  return listen(app.listen(0, '127.0.0.1', 4096));
}
