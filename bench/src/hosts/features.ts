import { tracingChannel } from 'node:diagnostics_channel';
import { memoryStore } from '@arc/thread-core';
import { start } from './core.js';
import type { Endpoints } from './options.js';

/** More sessions than the workload of idle connections leaves behind. */
const resume = { maxDetached: 20_000, maxDetachedBytes: 1024 ** 3 };

/** The core with resumable sessions, if its clients ask for them. */
export function startResume(endpoints: Endpoints): Promise<number> {
  return start(endpoints, { resume });
}

/** Resumable sessions of a cluster: while they have no connection, their frames are written to the store. */
export function startResumableCluster(endpoints: Endpoints): Promise<number> {
  return start(endpoints, { resume, cluster: { store: memoryStore(), node: 'bench' } });
}

/** The core as one node of a cluster. The store is in memory, so this is the relay's own share of the cost. */
export function startCluster(endpoints: Endpoints): Promise<number> {
  return start(endpoints, { cluster: { store: memoryStore(), node: 'bench' } });
}

/** The core with a subscriber on each tracing channel, which does nothing. */
export function startTraced(endpoints: Endpoints): Promise<number> {
  const ignore = (): void => {};
  const subscribers = { start: ignore, end: ignore, asyncStart: ignore, asyncEnd: ignore, error: ignore };
  for (const name of ['arc.session', 'arc.send', 'arc.call']) tracingChannel(name).subscribe(subscribers);
  return start(endpoints);
}
