import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRelay } from '@arc/thread-core';
import { startTestAgent } from '@arc/thread-core/testing';
import { ArcInstrumentation } from '@arc/thread-otel';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { WebSocketServer } from 'ws';
import { converse } from './converse.js';

async function main(): Promise<void> {
  const exporter = new InMemorySpanExporter();
  new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
  const instrumentation = new ArcInstrumentation();
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
  instrumentation.disable();
  const names = exporter.getFinishedSpans().map(({ name }) => name);
  if (!names.includes('invoke_agent support')) throw new Error(`No span of the send among ${names.join(', ')}`);
}

void main();
