// A relay in a child process, which `RelayProcess` starts and controls.
import { setImmediate } from 'node:timers/promises';
import { ArcClient } from '@arc/thread-core';
import type { Report } from './child.js';
import { RelayServer } from './world.js';

const [endpoint = '', options = '{}'] = process.argv.slice(2);
const errors: string[] = [];
process.on('unhandledRejection', (reason) => errors.push(`unhandled: ${reason}`));
process.on('uncaughtException', (error) => errors.push(`uncaught: ${error.stack}`));

let ended = 0;
let failed = 0;
const { connections, throwing, ...others } = JSON.parse(options) as { connections?: number; throwing?: number };
/** Callbacks of an application that throw, if the relay is to have such. They must change nothing. */
function fault(): void {
  if (throwing !== undefined) throw new Error('a callback throws');
}

const client = connections === undefined ? undefined : new ArcClient({ endpoint, connections });
const server = await RelayServer.start({
  ...(client === undefined ? { endpoint } : { client }),
  heartbeat: 0,
  ...others,
  ...(throwing === undefined ? {} : { logger: { debug: fault, info: fault, warn: fault, error: fault } }),
  hooks: {
    onOpen: fault,
    onClose: fault,
    onStart: fault,
    onRestart: fault,
    onSend: fault,
    onEnd: (_session, { ok }) => {
      if (ok) ended += 1;
      else failed += 1;
      fault();
    },
  },
});

async function report(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    global.gc?.();
    await setImmediate();
  }
  const { sessions, threads, pending } = server.relay.stats();
  const heap = process.memoryUsage().heapUsed;
  process.send?.({ url: server.url, heap, sessions, threads, pending, ended, failed, errors } satisfies Report);
}

async function settled(): Promise<void> {
  while (server.relay.sessions.size > 0) await Promise.all(Array.from(server.relay.sessions, ({ closed }) => closed));
}

// Exits when its parent is gone.
const orphaned = (): never => process.exit(1);
process.once('disconnect', orphaned);
process.on('message', (order) => {
  if (order === 'report') return void report();
  if (order === 'report when settled') return void settled().then(report);
  process.off('disconnect', orphaned);
  const closed = server.close().then(() => client?.close());
  return void closed.then(() => process.disconnect());
});
await report();
