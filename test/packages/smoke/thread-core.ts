import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
import { WebSocketServer } from 'ws';
import { converse } from './converse.js';

async function main(): Promise<void> {
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint });
  const server = createServer();
  const sockets = new WebSocketServer({ server, path: '/ws', ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  await converse(server);
  await relay.close();
  server.close();
  await once(server, 'close');
  await agent.close();
}

void main();
