import { startTestAgent } from '@arc/thread-core/testing';
import fastify from 'fastify';
import arc from 'fastify-arc';
import { converse } from './converse.js';

async function main(): Promise<void> {
  const agent = await startTestAgent();
  const app = fastify();
  await app.register(arc, { path: '/ws', endpoint: agent.endpoint });
  await app.listen({ port: 0, host: '127.0.0.1' });
  await converse(app.server);
  await app.close();
  await agent.close();
}

void main();
