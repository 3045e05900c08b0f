// A process of its own, which has to exit by itself: nothing that the relay had may be left once it is closed.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { createRelay } from '@arc/thread-core';
import { WebSocketServer } from 'ws';
import { Client, to } from './world.js';

const [endpoint = ''] = process.argv.slice(2);

/** The kinds of what keeps the process alive, but for what it had before. */
const before = process.getActiveResourcesInfo();
function resources(): string[] {
  const left = process.getActiveResourcesInfo();
  for (const known of before) if (left.includes(known)) left.splice(left.indexOf(known), 1);
  return left.sort();
}

/** Resolves when the agent has got one more of the requests that it holds. */
async function arrived(): Promise<void> {
  process.send?.('sent');
  await once(process, 'message');
}

const listeners = (): number => process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0);
const listenersBefore = listeners();

// Time-outs that would keep the process for ten minutes, were they forgotten.
const LONG = 600_000;
const relay = createRelay({
  endpoint,
  heartbeat: LONG,
  idleTimeout: LONG,
  sendTimeout: LONG,
  streamIdleTimeout: LONG,
  cleanupTimeout: LONG,
  drainTimeout: LONG,
});
const server = createServer();
const sockets = new WebSocketServer({ server, ...relay.wsOptions });
sockets.on('connection', (socket, request) => void relay.attach(socket, request, { identity: 'tester' }));
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;

const [one, two, three] = await Promise.all([Client.connect(url), Client.connect(url), Client.connect(url)]);
await one.ask(to('json', 1));
await one.ask(to('stream', 2, { stream: true }));
await one.ask(to('broken', 3));
await one.ask(to('broken', 4, { stream: true }));
// One is cancelled, one is dropped with its socket, and one still runs when the relay is closed.
two.send(to('held', 5));
await arrived();
two.send({ type: 'cancel', id: 5 });
await two.told(5);
two.send(to('held', 6, { stream: true }));
await arrived();
two.socket.terminate();
three.send(to('held', 7));
await arrived();
const closing = relay.close({ timeout: 0 });
process.send?.('closing');
const summary = await closing;
const left = resources();
const sessions = relay.sessions.size;
sockets.close();
server.close();
await Promise.all([one.closed, three.closed, once(server, 'close')]);
// Handles go at the end of a turn.
await setImmediate();
await setImmediate();
process.send?.({ summary, sessions, atClose: left, atEnd: resources(), listeners: listeners() - listenersBefore });
process.disconnect();
