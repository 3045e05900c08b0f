import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createThreadClient } from '@arc/thread-client';
import { ThreadChatTransport, UnsupportedTriggerError } from '@arc/thread-client/ai';
import { ThreadProvider, useThread } from '@arc/thread-client/react';
import { createRelay } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { WebSocket, WebSocketServer } from 'ws';

const Status = () => createElement('p', {}, useThread('support').status);

async function main(): Promise<void> {
  const agent = await startTestAgent();
  const relay = createRelay({ endpoint: agent.endpoint });
  const server = createServer();
  const sockets = new WebSocketServer({ server, path: '/ws', ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const { port } = server.address() as AddressInfo;
  const client = createThreadClient({ url: `ws://127.0.0.1:${port}/ws`, WebSocket });
  const answer = await client.send('support', 'Hello').text();
  if (answer === '') throw new Error('The answer has no text');

  const html = renderToString(createElement(ThreadProvider, { client }, createElement(Status)));
  if (html !== '<p>ready</p>') throw new Error(html);
  const options = { chatId: 'c', messageId: undefined, messages: [], abortSignal: undefined };
  const transport = new ThreadChatTransport({ client, agentId: 'support' });
  const again = transport.sendMessages({ ...options, trigger: 'regenerate-message' });
  const error = await again.catch((reason: unknown) => reason);
  if (!(error instanceof UnsupportedTriggerError)) throw new Error(String(error));
  await client.close();

  await relay.close();
  server.close();
  await once(server, 'close');
  await agent.close();
}

void main();
