// The sockets of `ws` 8, with its types, which test/types.test.ts compiles: it is never run.
import { createRelay } from '@arc/thread-core';
import { verifyClient } from '@arc/thread-core/host';
import { WebSocketServer } from 'ws';

const relay = createRelay({ endpoint: 'http://127.0.0.1:8000/arc' });
const sockets = new WebSocketServer({ port: 3000, ...relay.wsOptions, verifyClient: verifyClient(relay) });
sockets.on('connection', (socket, request) => relay.attach(socket, request));
