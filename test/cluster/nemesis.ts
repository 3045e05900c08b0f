import { setTimeout as wait } from 'node:timers/promises';
import type { CuttingProxy } from '@arc/test-client';
import { Random, until } from '@arc/test-client';
import type { Excuse } from '../history/history.js';
import type { AgentProcess } from './agent.js';
import type { Cluster, Node } from './cluster.js';
import { ReaperFinder, type ReconnectingClient } from './reaper-finder.js';

/** Those whose promises are at stake. */
export interface ClientGroup {
  readonly clients: readonly ReconnectingClient[];
  /** Every client says something in its first thread. Resolves when all are told how that ended. */
  say(what: string): Promise<void>;
}

/** What the nemesis does, and which failures of sends that explains. */
const ATTACKS = {
  cut: [],
  'black hole': [],
  kill: ['crash'],
  freeze: ['crash'],
  roll: [],
  'same name': ['crash'],
  'kill Redis': ['store'],
  'pause Redis': ['store'],
  'flush Redis': ['store'],
  'kill reaper': ['crash'],
} as const satisfies Record<string, readonly Excuse[]>;

export type Attack = keyof typeof ATTACKS;

/** Those after which a session may be known to no node and to no store. */
const LOSES_DATA: readonly Attack[] = ['kill Redis', 'flush Redis'];

/** All but the one that needs a short grace. */
export const attacks = (Object.keys(ATTACKS) as Attack[]).filter((attack) => attack !== 'kill reaper');

/** Those that send clients to other nodes. A session that is being handed over is in the store, and nowhere else. */
const MOVES_SESSIONS: readonly Attack[] = ['cut', 'black hole', 'roll'];

/**
 * What attacks excuse that happen at once. Lost data is no excuse while every session has a living owner. A pause of Redis
 * lasts as long as a lease, which no node can renew meanwhile: whoever is asked for a session then may claim it.
 */
export function excusesOf(atOnce: readonly Attack[]): Set<Excuse> {
  const excuses = new Set<Excuse>(atOnce.flatMap((attack) => ATTACKS[attack]));
  const moves = atOnce.some((attack) => MOVES_SESSIONS.includes(attack));
  if (moves && atOnce.includes('pause Redis')) excuses.add('lapse');
  const isOwned = !excuses.has('crash') && !moves;
  if (!isOwned && atOnce.some((attack) => LOSES_DATA.includes(attack))) excuses.add('data');
  return excuses;
}

/** For a store that has its data to load, on a busy machine. */
const HEALING_MS = 30_000;

/** Attacks a cluster. A seed decides how. */
export class Nemesis {
  readonly random: Random;
  /** What it has done so far, in words. */
  readonly log: string[] = [];
  readonly #cluster: Cluster;
  readonly #agent: AgentProcess;
  readonly #proxy: CuttingProxy;
  /** The nodes that are under attack. */
  readonly #victims = new Set<Node>();

  constructor(seed: number, cluster: Cluster, agent: AgentProcess, proxy: CuttingProxy) {
    this.random = new Random(seed);
    this.#cluster = cluster;
    this.#agent = agent;
    this.#proxy = proxy;
  }

  /** Attacks, each time another node, and brings back what it took away. */
  async attack(atOnce: readonly Attack[], group: ClientGroup): Promise<void> {
    this.log.push(atOnce.join(' + '));
    const targets = atOnce.map((attack) => ({ attack, node: this.#pick() }));
    await Promise.all(targets.map(({ attack, node }) => this.#attack(attack, node, group)));
    this.#victims.clear();
  }

  async #attack(attack: Attack, node: Node, group: ClientGroup): Promise<void> {
    const { redis, client, lease } = this.#cluster;
    if (attack === 'cut') this.#proxy.cut();
    else if (attack === 'black hole') this.#proxy.abandon();
    else if (attack === 'kill') await this.#replace(node, 'SIGKILL');
    else if (attack === 'freeze') await this.#freeze(node, group);
    else if (attack === 'roll') await this.#replace(node, 'SIGTERM');
    else if (attack === 'same name') await this.#addNamesake(node);
    else if (attack === 'kill reaper') await this.#killReaper(node, group);
    else if (attack === 'pause Redis') await client.call('CLIENT', 'PAUSE', `${lease}`);
    else if (attack === 'flush Redis') await client.flushall();
    else {
      await redis.kill();
      await wait(lease / 2);
      await redis.start();
    }
  }

  /** Waits until every node is in the cluster again. */
  async heal(): Promise<void> {
    const { nodes } = this.#cluster;
    const before = await Promise.all(nodes.map((node) => node.renewals()));
    for (const [index, node] of nodes.entries()) {
      // What it says of itself is as old as its last renewal, which may be from before the attack.
      const isRenewed = async (): Promise<boolean> => (await node.renewals()) > (before[index] ?? 0);
      await until(isRenewed, 'a node to renew its lease', HEALING_MS);
      await until(() => node.isOk(), 'a node to be in the cluster again', HEALING_MS);
    }
  }

  #pick(): Node {
    const node = this.random.pick(this.#cluster.nodes.filter((other) => !this.#victims.has(other)));
    this.#victims.add(node);
    return node;
  }

  async #replace(node: Node, signal: NodeJS.Signals): Promise<void> {
    await this.#cluster.remove(node, signal);
    await this.#cluster.add();
  }

  /**
   * Freezes a node for longer than its lease. Its clients go on sending, and then continue on other nodes. When it runs
   * again it finds in its sockets what they had sent, and what it must not pass on any more.
   */
  async #freeze(node: Node, group: ClientGroup): Promise<void> {
    const { lease } = this.#cluster;
    const continues = async (): Promise<void> => {
      const said = group.say('frozen');
      await wait(lease / 2);
      this.#proxy.abandon(node.port);
      await said;
      await group.say('thawing');
    };
    node.freeze();
    await Promise.all([continues(), wait(lease * 2.5)]);
    node.thaw();
  }

  /** A second process with the name of a node fences the first one off, which is stopped then. */
  async #addNamesake(node: Node): Promise<void> {
    await this.#cluster.add(node.name);
    await this.#cluster.remove(node, 'SIGTERM');
  }

  /** Kills a node, some of whose clients do not come back, and then the node that ends the chats of those. */
  async #killReaper(node: Node, group: ClientGroup): Promise<void> {
    const finder = new ReaperFinder(this.#cluster, this.#agent);
    await finder.takeOffline(node, group.clients);
    await this.#cluster.remove(node, 'SIGKILL');
    // The chats may be given up while a new node starts.
    const replaced = this.#cluster.add();
    await this.#cluster.remove(await finder.find(), 'SIGKILL');
    await Promise.all([replaced, finder.bringBack()]);
    await this.#cluster.add();
  }
}
