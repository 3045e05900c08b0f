import { setTimeout as wait } from 'node:timers/promises';
import type { Random } from '@arc/test-client';
import type { History } from '../history/history.js';
import type { ClientGroup } from './client-group.js';
import type { Cluster } from './cluster.js';

/** What the documents say of a store that is away, in leases since the last renewal: until then open threads continue … */
const OPEN = 1.5;
/** … and before then no other node ends their chats. Sessions that nobody can resume are kept no longer. */
const KEPT = 2;
/** A part of a lease for a renewal that its node asked for so long before Redis counted it. */
const DELAY = 0.25;

export interface Outage {
  cluster: Cluster;
  group: ClientGroup;
  random: Random;
  history: History;
  /** Whether Redis comes back with what it had. */
  hasData: boolean;
  /** Nothing else is done to Redis at once. Else it may have carried out a renewal late, and its node counts from when it asked. */
  isAlone: boolean;
}

/** Redis is away for longer than a lease and the grace of what is not resumed. Clients talk all the time. */
export async function keepRedisAway({ cluster, group, random, history, hasData, isAlone }: Outage): Promise<void> {
  const { lease } = cluster;
  const renewedAt = isAlone ? await lastRenewal(cluster) : undefined;
  const end = await stop(cluster, random, hasData);
  const goneAt = performance.now();
  const silentAt = goneAt + lease * OPEN;
  const openUntil = renewedAt === undefined ? goneAt : renewedAt + lease * (OPEN - DELAY);
  let isTold = false;
  try {
    await group.sayConnected('early');
    await waitUntil(silentAt);
    isTold = await group.sayConnected('late');
    await waitUntil(goneAt + lease * (KEPT + DELAY));
  } finally {
    history.outages.push({ goneAt, openUntil, lapsedAt: goneAt + lease, silentAt, backAt: performance.now() });
    await end();
  }
  if (!isTold) history.failures.push('Not everybody with a connection was told in time that the store is away');
}

async function waitUntil(moment: number): Promise<void> {
  await wait(Math.ceil(moment - performance.now()) + 1);
}

/** When the node renewed its lease that did so first of all; undefined if the store does not have all nodes. */
async function lastRenewal({ client, nodes, lease }: Cluster): Promise<number | undefined> {
  const leases = await client.zrange('arc:nodes', '0', '-1', 'WITHSCORES');
  const ends = nodes.map(({ name }) => Number(leases[leases.findIndex((id) => id.endsWith(`:${name}`)) + 1]));
  // The clock of Redis is that of this machine.
  const age = Date.now() - (Math.min(...ends) - lease);
  return age < lease ? performance.now() - age : undefined;
}

/** Takes Redis away, in one of the ways in which it keeps its data or loses it. Returns what brings it back. */
async function stop({ redis }: Cluster, random: Random, hasData: boolean): Promise<() => Promise<void>> {
  const isRestarted = !hasData || (redis.isPersistent && random.chance(0.5));
  if (!isRestarted) {
    // Connections stay open, and what was asked meanwhile is carried out afterwards.
    redis.signal('SIGSTOP');
    return () => Promise.resolve(redis.signal('SIGCONT'));
  }
  // On SIGTERM it writes everything down.
  await redis.kill(hasData ? 'SIGTERM' : 'SIGKILL');
  if (!hasData) await redis.removeData();
  return () => redis.start();
}
