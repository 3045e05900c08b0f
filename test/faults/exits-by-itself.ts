// A process of its own, which has to exit by itself: nothing that the relay had may be left once it is closed.
import { createHook } from 'node:async_hooks';
import { type EventEmitter, once } from 'node:events';
import type { Relay } from '@arc/thread-core';
import { portOf } from '../contract/client.js';
import { hosts } from '../shutdown/hosts.js';
import { Client, to, until } from './world.js';

const [name = '', endpoint = ''] = process.argv.slice(2);
const host = await hosts[name]?.();
if (host === undefined) throw new Error(`There is no host ${name}`);

/** The kinds of what keeps the process alive, but for what it had before. */
const before = process.getActiveResourcesInfo();
function resources(): string[] {
  const left = process.getActiveResourcesInfo();
  for (const known of before) if (left.includes(known)) left.splice(left.indexOf(known), 1);
  return left.sort();
}

/** Timers and sockets that were made from now on and are there still, those that keep no process alive included. */
const alive = new Map<number, string>();
let isOver = false;
createHook({
  init: (id, type) => void (!isOver && /^(Timeout|TCP|PIPE|TLS)/.test(type) && alive.set(id, type)),
  destroy: (id) => void alive.delete(id),
}).enable();

/** Resolves when the agent has got one more of the requests that it holds. */
async function arrived(): Promise<void> {
  process.send?.('sent');
  await once(process, 'message');
}

function listeners(emitter: EventEmitter): number {
  return emitter.eventNames().reduce((sum, event) => sum + emitter.listenerCount(event), 0);
}
const listenersBefore = listeners(process);

// Time-outs that would keep the process for ten minutes, were they forgotten.
const LONG = 600_000;
const options = {
  endpoint,
  heartbeat: LONG,
  idleTimeout: LONG,
  sendTimeout: LONG,
  streamIdleTimeout: LONG,
  streamTimeout: LONG,
  cleanupTimeout: LONG,
  drainTimeout: LONG,
};
const app = await host.listen({ relays: [{ options }], onError: console.error });
const [relay] = app.relays as [Relay];
const listenersOfServer = listeners(app.server);
const url = `ws://127.0.0.1:${portOf(app.server)}/ws`;

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
const atClose = resources();
const sessions = relay.sessions.size;
const ofServer = listeners(app.server) - listenersOfServer;
await app.close();
await Promise.all([one.closed, three.closed]);
// Handles go at the end of a turn, and the one timer behind all time-outs of undici's up to a second later.
isOver = true;
await until(
  () => alive.size === 0,
  () => `the end of ${[...alive.values()]}`,
);
const atEnd = resources();
const ofProcess = listeners(process) - listenersBefore;
process.send?.({ summary, sessions, atClose, atEnd, ofServer, ofProcess });
process.disconnect();
