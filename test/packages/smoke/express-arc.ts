import { once } from 'node:events';
import { startTestAgent } from '@arc/thread-core/testing';
import express from 'express';
import arc from 'express-arc';
import { converse } from './converse.js';

async function main(): Promise<void> {
  const agent = await startTestAgent();
  const app = express();
  app.use('/ws', arc({ endpoint: agent.endpoint }));
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await converse(server);
  server.close();
  await once(server, 'close');
  await agent.close();
}

void main();
