import { setTimeout as wait } from 'node:timers/promises';
import type { CuttingProxy, Random } from '@arc/test-client';
import type { Cluster } from './cluster.js';

/** How often clients have to ask other nodes for their sessions while that is slow. */
const CUTS = 3;

type Slowdown = (cluster: Cluster, proxy: CuttingProxy, random: Random) => Promise<void>;

/** Redis stands still again and again, never long enough for a lease to run out. */
async function pause({ client, lease }: Cluster, proxy: CuttingProxy, random: Random): Promise<void> {
  for (let cut = 0; cut < CUTS; cut += 1) {
    proxy.cut();
    // The questions are asked, and not answered yet.
    await wait(random.below(20));
    await client.call('CLIENT', 'PAUSE', `${lease / 4}`, random.pick(['ALL', 'WRITE']));
    await wait(lease / 2);
  }
}

/** The connections of all nodes are lost again and again, with commands that Redis has carried out and not answered. */
async function disconnect({ client, lease }: Cluster, proxy: CuttingProxy, random: Random): Promise<void> {
  for (let cut = 0; cut < CUTS; cut += 1) {
    proxy.cut();
    await wait(random.below(20));
    await client.call('CLIENT', 'KILL', 'TYPE', 'normal');
    await wait(lease / 4);
  }
}

/**
 * No node can read its inbox, for up to two leases, which all nodes renew meanwhile. Questions are asked in vain, and are read when
 * who has asked has left; answers come when nobody waits for them any more.
 */
async function hold({ client, lease }: Cluster, proxy: CuttingProxy, random: Random): Promise<void> {
  proxy.cut();
  await wait(random.below(20));
  await client.call('ACL', 'SETUSER', 'default', '-xread');
  try {
    // What waits for a message already would still get it.
    const clients = String(await client.call('CLIENT', 'LIST')).split('\n');
    const readers = clients.filter((line) => line.includes(' cmd=xread ')).map((line) => /^id=(\d+)/.exec(line)?.[1]);
    for (const id of readers) if (id !== undefined) await client.call('CLIENT', 'KILL', 'ID', id);
    for (let cut = 1; cut < CUTS; cut += 1) {
      await wait(random.below(lease));
      proxy.cut();
    }
  } finally {
    await client.call('ACL', 'SETUSER', 'default', '+xread');
  }
}

const SLOWDOWNS: readonly Slowdown[] = [pause, disconnect, hold, hold];

/** What nodes ask each other comes late, or is answered too late, while clients come to nodes that do not have their sessions. */
export async function slowDownInboxes(cluster: Cluster, proxy: CuttingProxy, random: Random): Promise<void> {
  await random.pick(SLOWDOWNS)(cluster, proxy, random);
}
