import { setTimeout as wait } from 'node:timers/promises';
import type { CuttingProxy } from '@arc/test-client';
import { Random } from '../fuzz/random.js';
import type { Excuse } from '../history/history.js';
import { type Cluster, type Node, until } from './cluster.js';

/** What the nemesis does, and what it excuses. */
const ATTACKS = {
  cut: [],
  'black hole': [],
  kill: ['crash'],
  freeze: ['crash'],
  roll: ['crash'],
  'same name': ['crash'],
  'kill Redis': ['store'],
  'pause Redis': ['store'],
  'flush Redis': ['store'],
} as const satisfies Record<string, readonly Excuse[]>;

export type Attack = keyof typeof ATTACKS;

export const attacks = Object.keys(ATTACKS) as Attack[];

/** Does to a cluster what a seed says. */
export class Nemesis {
  readonly random: Random;
  /** What it has done so far, in words. */
  readonly log: string[] = [];
  readonly #cluster: Cluster;
  readonly #proxy: CuttingProxy;

  constructor(seed: number, cluster: Cluster, proxy: CuttingProxy) {
    this.random = new Random(seed);
    this.#cluster = cluster;
    this.#proxy = proxy;
  }

  excuses(attack: Attack): readonly Excuse[] {
    return ATTACKS[attack];
  }

  /** Attacks once, and brings back what it took away. */
  async attack(attack: Attack): Promise<void> {
    const { redis, client, lease } = this.#cluster;
    const node = this.random.pick(this.#cluster.nodes);
    this.log.push(attack);
    if (attack === 'cut') this.#proxy.cut();
    else if (attack === 'black hole') this.#proxy.abandon();
    else if (attack === 'kill') await this.#replace(node, 'SIGKILL');
    else if (attack === 'roll') await this.#replace(node, 'SIGTERM');
    else if (attack === 'same name') await this.#addNamesake(node);
    else if (attack === 'pause Redis') await client.call('CLIENT', 'PAUSE', `${lease}`);
    else if (attack === 'flush Redis') await client.flushall();
    else if (attack === 'kill Redis') {
      await redis.kill();
      await wait(lease / 2);
      await redis.start();
    } else {
      node.signal('SIGSTOP');
      await wait(lease * 2.5);
      node.signal('SIGCONT');
    }
  }

  /** Waits until every node is in the cluster again. */
  async heal(): Promise<void> {
    const isOk = async (node: Node): Promise<boolean> => (await node.report()).stats.cluster?.state === 'ok';
    for (const node of this.#cluster.nodes) await until(() => isOk(node), 'a node to be in the cluster again');
  }

  async #replace(node: Node, signal: NodeJS.Signals): Promise<void> {
    await this.#cluster.remove(node, signal);
    await this.#cluster.add();
  }

  /** A second process with the name of a node fences the first one off, which is stopped then. */
  async #addNamesake(node: Node): Promise<void> {
    await this.#cluster.add(node.name);
    await this.#cluster.remove(node, 'SIGTERM');
  }
}
