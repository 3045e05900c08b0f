import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocket } from 'ws';

/** Says one thing to the relay behind a server that listens, and checks that the agent's answer comes back. */
export async function converse(server: Pick<Server, 'address'>): Promise<void> {
  const { port } = server.address() as AddressInfo;
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
  await once(socket, 'open');
  const message = { role: 'user', parts: [{ type: 'text', content: 'Hello' }] };
  socket.send(JSON.stringify({ agent_id: 'support', message }));
  const [data] = await once(socket, 'message');
  const { type } = JSON.parse(String(data)) as { type?: unknown };
  if (type !== 'response') throw new Error(`Expected a response, got ${String(data)}`);
  socket.close();
  await once(socket, 'close');
}
