import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Listens on a free port of the loopback interface, and returns the port. */
export async function listen(server: Server): Promise<number> {
  if (!server.listening) server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  if (server.address() === null) await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
