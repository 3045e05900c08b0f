import { setTimeout as wait } from 'node:timers/promises';
import type { CuttingProxy } from '@arc/test-client';
import { Random, until } from '@arc/test-client';
import type { Excuse, History } from '../history/history.js';
import type { AgentProcess } from './agent.js';
import type { ClientGroup } from './client-group.js';
import type { Cluster, Node } from './cluster.js';
import { Impostor } from './impostor.js';
import { keepRedisAway } from './outage.js';
import { ReaperFinder } from './reaper-finder.js';
import { slowDownInboxes } from './slow-inboxes.js';

/** What a nemesis attacks, and where it writes down what it knows of that. */
export interface Battlefield {
  cluster: Cluster;
  agent: AgentProcess;
  proxy: CuttingProxy;
  history: History;
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
  outage: ['store'],
  'outage with loss': ['store'],
  'wrong secrets': [],
  'slow inboxes': [],
  'kill reaper': ['crash'],
} as const satisfies Record<string, readonly Excuse[]>;

export type Attack = keyof typeof ATTACKS;

/** Those after which a session may be known to no node and to no store. */
const LOSES_DATA: readonly Attack[] = ['kill Redis', 'flush Redis', 'outage with loss'];

/** Those in which no node can renew its lease for so long that it is over. */
const ENDS_LEASES: readonly Attack[] = ['pause Redis', 'outage', 'outage with loss'];

/** Those that take longer than the shortest grace. */
export const outages: readonly Attack[] = ['outage', 'outage with loss'];

/** Those that delay what Redis carries out, or all of it. */
const ON_REDIS: readonly Attack[] = [...LOSES_DATA, ...ENDS_LEASES, 'slow inboxes'];

/** All but the one that needs a short grace. */
export const attacks = (Object.keys(ATTACKS) as Attack[]).filter((attack) => attack !== 'kill reaper');

/** Those that send clients to other nodes. A session that is being handed over is in the store, and nowhere else. */
const MOVES_SESSIONS: readonly Attack[] = ['cut', 'black hole', 'roll', 'slow inboxes'];

/**
 * What attacks excuse that happen at once. Lost data is no excuse while every session has a living owner. While Redis is away
 * for as long as a lease, no node can renew its own: whoever is asked for a session afterwards may claim it. `isGraceShort`: a
 * session expires while it waits for a client that no node can serve. One whose client is connected does not, however long Redis is away.
 */
export function excusesOf(atOnce: readonly Attack[], isGraceShort = false): Set<Excuse> {
  const excuses = new Set<Excuse>(atOnce.flatMap((attack) => ATTACKS[attack]));
  const moves = atOnce.some((attack) => MOVES_SESSIONS.includes(attack));
  if (moves && atOnce.some((attack) => ENDS_LEASES.includes(attack))) excuses.add('lapse');
  if (isGraceShort && (moves || excuses.has('crash'))) excuses.add('expiry');
  const isOwned = !excuses.has('crash') && !moves;
  if (!isOwned && atOnce.some((attack) => LOSES_DATA.includes(attack))) excuses.add('data');
  return excuses;
}

/** Whether no connection of a client is lost, if all sessions are on the nodes that their clients are connected to. */
export function leavesConnections(atOnce: readonly Attack[]): boolean {
  const leaves = (attack: Attack): boolean => !ATTACKS[attack].some((excuse) => excuse === 'crash');
  return atOnce.every((attack) => leaves(attack) && !MOVES_SESSIONS.includes(attack));
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
  readonly #history: History;
  /** The nodes that are under attack. */
  readonly #victims = new Set<Node>();
  /** The last attack on the process of Redis: there is one at a time. */
  #onRedis: Promise<void> = Promise.resolve();
  #impostor: Impostor | undefined;

  constructor(seed: number, { cluster, agent, proxy, history }: Battlefield) {
    this.random = new Random(seed);
    this.#cluster = cluster;
    this.#agent = agent;
    this.#proxy = proxy;
    this.#history = history;
  }

  /** Attacks, each time another node, and brings back what it took away. Wrong secrets are tried until `stop`. */
  async attack(atOnce: readonly Attack[], group: ClientGroup): Promise<void> {
    this.log.push(atOnce.join(' + '));
    // Of what is done at once, nothing depends on what is done first.
    const targets = atOnce.map((attack) => ({
      attack,
      node: this.#pick(),
      random: new Random(this.random.below(2 ** 31)),
    }));
    const isAlone = atOnce.filter((attack) => ON_REDIS.includes(attack)).length === 1;
    await Promise.all(targets.map(({ attack, node, random }) => this.#attack(attack, node, random, group, isAlone)));
    this.#victims.clear();
  }

  /** Ends what goes on beside other attacks, and while the cluster recovers. */
  async stop(): Promise<void> {
    await this.#impostor?.stop();
    this.#impostor = undefined;
  }

  async #attack(attack: Attack, node: Node, random: Random, group: ClientGroup, isAlone: boolean): Promise<void> {
    const { client, lease } = this.#cluster;
    const [cluster, history] = [this.#cluster, this.#history];
    if (attack === 'cut') this.#proxy.cut();
    else if (attack === 'black hole') this.#proxy.abandon();
    else if (attack === 'kill') await this.#replace(node, 'SIGKILL');
    else if (attack === 'freeze') await this.#freeze(node, group);
    else if (attack === 'roll') await this.#replace(node, 'SIGTERM');
    else if (attack === 'same name') await this.#addNamesake(node);
    else if (attack === 'kill reaper') await this.#killReaper(node, group);
    else if (attack === 'pause Redis') await client.call('CLIENT', 'PAUSE', `${lease}`);
    else if (attack === 'flush Redis') await client.flushall();
    else if (attack === 'slow inboxes') await slowDownInboxes(cluster, this.#proxy, random);
    else if (attack === 'wrong secrets') this.#impostor = new Impostor(random, cluster, group.clients, history);
    else if (attack === 'kill Redis') await this.#attackRedis(() => this.#killRedis());
    else {
      const hasData = attack === 'outage';
      await this.#attackRedis(() => keepRedisAway({ cluster, group, random, history, hasData, isAlone }));
    }
  }

  #attackRedis(attack: () => Promise<void>): Promise<void> {
    this.#onRedis = this.#onRedis.then(attack);
    return this.#onRedis;
  }

  async #killRedis(): Promise<void> {
    const { redis, lease } = this.#cluster;
    await redis.kill();
    await wait(lease / 2);
    await redis.start();
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
