import express from 'express';
import arc from 'express-arc';
import { listen } from './listen.js';
import { type Endpoints, relayOptions } from './options.js';

export function start(endpoints: Endpoints): Promise<number> {
  const app = express();
  app.use('/ws', arc(relayOptions(endpoints)));
  return listen(app.listen(0, '127.0.0.1', 4096));
}
