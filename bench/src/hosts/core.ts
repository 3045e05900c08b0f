import { createServer } from 'node:http';
import { createRelay, type RelayOptions } from '@arc/thread-core';
import { WebSocketServer } from 'ws';
import { listen } from './listen.js';
import { type Endpoints, relayOptions } from './options.js';

/** The relay on a plain ws server. */
export function start(endpoints: Endpoints, options: Partial<RelayOptions> = {}): Promise<number> {
  const server = createServer();
  const relay = createRelay({ ...relayOptions(endpoints), ...options });
  const sockets = new WebSocketServer({ server, clientTracking: false, ...relay.wsOptions });
  sockets.on('connection', (socket, request) => relay.attach(socket, request));
  return listen(server);
}
