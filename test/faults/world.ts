import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type Json, RecordingClient } from '@arc/test-client';
import { type AgentSource, createRelay, type Relay, type RelayOptions } from '@arc/thread-core';
import { WebSocketServer } from 'ws';

export { type Frame, isLast, type Json, RecordingClient, until, withDeadline } from '@arc/test-client';

/** A message frame. */
export function to(agentId: string, id: string | number, more: Json = {}): Json {
  const message = { role: 'user', parts: [{ type: 'text', content: 'one two three four' }] };
  return { agent_id: agentId, id, message, ...more };
}

/** A relay behind a plain `ws` server on 127.0.0.1. */
export class RelayServer {
  readonly relay: Relay;
  readonly server: WebSocketServer;
  readonly #clients: RecordingClient[] = [];

  private constructor(options: RelayOptions & AgentSource) {
    this.relay = createRelay(options);
    this.server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...this.relay.wsOptions });
    this.server.on('connection', (socket, request) => this.relay.attach(socket, request, { identity: 'tester' }));
  }

  static async start(options: RelayOptions & AgentSource): Promise<RelayServer> {
    const server = new RelayServer(options);
    await once(server.server, 'listening');
    return server;
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async connect(): Promise<RecordingClient> {
    const client = await RecordingClient.open(this.url);
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const { socket } of this.#clients) socket.terminate();
    await this.relay.close({ timeout: 0 });
    for (const socket of this.server.clients) socket.terminate();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
