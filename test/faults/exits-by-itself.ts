// A process that must exit by itself: after relay.close() no resource of the relay may remain.
import { createHook } from 'node:async_hooks';
import { type EventEmitter, once } from 'node:events';
import { portOf } from '@arc/host-contract';
import type { Relay } from '@arc/thread-core';
import { hosts } from '../shutdown/hosts.js';
import { RecordingClient, to, until } from './world.js';

const [name = '', endpoint = ''] = process.argv.slice(2);
const host = await hosts[name]?.();
if (host === undefined) throw new Error(`Unknown host ${name}`);

/** The kinds of resources that keep the process alive, without those that existed at the start. */
const before = process.getActiveResourcesInfo();
function resources(): string[] {
  const left = process.getActiveResourcesInfo();
  for (const known of before) if (left.includes(known)) left.splice(left.indexOf(known), 1);
  return left.sort();
}

/** Timers and sockets that were created from now on and still exist, including those that are unref'ed. */
const alive = new Map<number, string>();
let isClosed = false;
createHook({
  init: (id, type) => void (!isClosed && /^(Timeout|TCP|PIPE|TLS)/.test(type) && alive.set(id, type)),
  destroy: (id) => void alive.delete(id),
}).enable();

/** Resolves when one more of the held requests has arrived at the agent. */
async function arrived(): Promise<void> {
  process.send?.('sent');
  await once(process, 'message');
}

function listeners(emitter: EventEmitter): number {
  return emitter.eventNames().reduce((sum, event) => sum + emitter.listenerCount(event), 0);
}
const listenersBefore = listeners(process);

// Timers of this length would keep the process alive for ten minutes if they were not cleared.
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

const [one, two, three] = await Promise.all([
  RecordingClient.open(url),
  RecordingClient.open(url),
  RecordingClient.open(url),
]);
await one.exchange(to('json', 1));
await one.exchange(to('stream', 2, { stream: true }));
await one.exchange(to('broken', 3));
await one.exchange(to('broken', 4, { stream: true }));
// One send is cancelled, one is dropped with its socket, and one is running when the relay is closed.
two.send(to('held', 5));
await arrived();
two.send({ type: 'cancel', id: 5 });
await two.answerTo(5);
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
// Handles are released at the end of a turn, and undici's shared timer up to a second later.
isClosed = true;
await until(
  () => alive.size === 0,
  () => `the end of ${[...alive.values()]}`,
);
const atEnd = resources();
const ofProcess = listeners(process) - listenersBefore;
process.send?.({ summary, sessions, atClose, atEnd, ofServer, ofProcess });
process.disconnect();
