import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CuttingProxy, until as poll } from '@arc/test-client';
import { createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '@arc/thread-core/testing';
import type { Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { createThreadClient, type ThreadClient, type ThreadClientOptions } from '../src/index.js';

export interface World {
  agent: TestAgent;
  relay: Relay;
  proxy: CuttingProxy;
  /** A client of this relay, through the proxy. It is closed with the test. */
  client(options?: Partial<ThreadClientOptions>): ThreadClient;
}

/** A real agent, a real relay on a real server, and a proxy in front of it. */
export async function createWorld(
  t: Test,
  options: Partial<RelayOptions> = {},
  agentOptions: TestAgentOptions = {},
): Promise<World> {
  const agent = await startTestAgent(agentOptions);
  const relay = createRelay({ endpoint: agent.endpoint, ...options });
  const server = createServer();
  const sockets = new WebSocketServer({ server, ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await CuttingProxy.start((server.address() as AddressInfo).port);
  const clients: ThreadClient[] = [];
  t.teardown(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await relay.close();
    await proxy.close();
    server.close();
    await agent.close();
  });
  const client = (clientOptions: Partial<ThreadClientOptions> = {}): ThreadClient => {
    const created = createThreadClient({ ...FAST, url: proxy.url, ...clientOptions });
    clients.push(created);
    return created;
  };
  return { agent, relay, proxy, client };
}

/** Attempts follow each other quickly, and Node 20 has no WebSocket of its own. */
export const FAST = { WebSocket, backoff: { min: 1, max: 20 } };

/** Resolves with the next state that matches, or with the current one. */
export function state(client: ThreadClient, status: ThreadClient['state']['status']): Promise<ThreadClient['state']> {
  if (client.state.status === status) return Promise.resolve(client.state);
  return new Promise((resolve) => {
    const stop = client.on('state', (next) => {
      if (next.status !== status) return;
      stop();
      resolve(next);
    });
  });
}

/** The error with which a promise rejects. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('It did not fail');
}

/** Polls until a condition holds that no event announces. */
export function until(condition: () => boolean): Promise<void> {
  return poll(condition, String(condition));
}
