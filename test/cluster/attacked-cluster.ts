import { setTimeout as wait } from 'node:timers/promises';
import { CuttingProxy, Random, until } from '@arc/test-client';
import type { Test } from 'tap';
import { check } from '../history/check.js';
import { createHistory, type History } from '../history/history.js';
import { RecordedClient, type RecordedSend } from '../history/recorded-client.js';
import { AgentProcess } from './agent.js';
import type { ClientGroup } from './client-group.js';
import { Cluster } from './cluster.js';
import { Leftovers } from './leftovers.js';
import { type Attack, excusesOf, leavesConnections, Nemesis } from './nemesis.js';

/** Also the shortest grace: no session is kept for less than a lease. */
export const LEASE = 1000;
/** After a run the agent has hundreds of chats to end at once. */
const CLEANUP_TIMEOUT = 5000;
/** Longer than everything that the nemesis does: no session may expire. */
const GRACE = 60_000;

export interface AttackedClusterOptions {
  /** Arguments of the redis-server. */
  redis?: string[];
  /** Milliseconds for which a session is kept. With a shorter one than by default those may expire that wait for their clients. */
  grace?: number;
  /** The environment of the nodes. */
  env?: NodeJS.ProcessEnv;
  /** Milliseconds for what must come. */
  waitLimit?: number;
  /** Whether the logs of the nodes are printed if there are problems. */
  printsLogs?: boolean;
}

/** A cluster, the proxy in front of it, and the clients that talk to it while a nemesis attacks. */
export class AttackedCluster {
  readonly cluster: Cluster;
  readonly #agent: AgentProcess;
  readonly #proxy: CuttingProxy;
  readonly #options: AttackedClusterOptions;
  /** That of the run that is under way. */
  #history: History = createHistory();
  #turn = 0;

  static async create(t: Test, options: AttackedClusterOptions = {}): Promise<AttackedCluster> {
    const { redis = [], grace = GRACE, env = process.env } = options;
    let attacked: AttackedCluster | undefined;
    // A message that reaches the agent late belongs to the history in which it was sent.
    const agent = await AgentProcess.start((record) => {
      (attacked as AttackedCluster).#history.reached.push({ ...record, at: performance.now() });
    });
    t.teardown(() => agent.stop());
    const settings = { lease: LEASE, cleanupTimeout: CLEANUP_TIMEOUT, grace, heartbeat: 1000, redis, env };
    const cluster = await Cluster.start(t, { ...settings, endpoint: agent.endpoint });
    const proxy = await CuttingProxy.start(() => (attacked as AttackedCluster).#pickPort());
    t.teardown(() => proxy.close());
    attacked = new AttackedCluster(cluster, agent, proxy, options);
    return attacked;
  }

  private constructor(cluster: Cluster, agent: AgentProcess, proxy: CuttingProxy, options: AttackedClusterOptions) {
    this.#options = options;
    this.cluster = cluster;
    this.#agent = agent;
    this.#proxy = proxy;
  }

  /**
   * Clients talk while the nemesis attacks: step by step, of which each may be several attacks at once. Resolves to what
   * the checker finds in the history.
   */
  async run(seed: number, steps: readonly (readonly Attack[])[], clientCount: number): Promise<string[]> {
    const history = createHistory();
    const began = Date.now();
    this.#history = history;
    const { cluster } = this;
    const leftovers = await Leftovers.begin(cluster, this.#agent);
    const nemesis = new Nemesis(seed, { cluster, agent: this.#agent, proxy: this.#proxy, history });
    const clients = Array.from(
      { length: clientCount },
      (_, index) => new RecordedClient(history, `seed ${seed} client ${index}`, this.#proxy.url),
    );
    const group = new TalkingClients(seed, clients, this.#waitLimit);
    const isGraceShort = this.#options.grace !== undefined;
    await group.say('hello');
    const talking = group.talk();
    for (const atOnce of steps) {
      await wait(nemesis.random.below(LEASE));
      const excuses = [...excusesOf(atOnce, isGraceShort)];
      const withdrawals = clients.flatMap((client) => excuses.map((excuse) => client.excuse(excuse)));
      const isQuiet = leavesConnections(atOnce) && (await this.#hasNoGateways());
      const connections = clients.map(countConnections);
      try {
        await nemesis.attack(atOnce, group);
        await nemesis.heal();
        // Until leases have run out and sessions have moved this is not certain.
        await wait(LEASE * 2);
      } finally {
        await nemesis.stop();
      }
      for (const withdraw of withdrawals) withdraw();
      const lost = clients.filter((client, index) => countConnections(client) !== connections[index]);
      if (isQuiet) for (const { record } of lost) history.failures.push(`${record.name} has lost its connection`);
    }
    group.stop();
    await talking;
    await group.say('goodbye');
    await Promise.all(clients.map((client) => client.close()));
    this.#proxy.cut();
    const left = {
      mayLoseData: steps.some((atOnce) => excusesOf(atOnce).has('data')),
      hasStrangers: steps.some((atOnce) => atOnce.includes('wrong secrets') && atOnce.length > 1),
    };
    await leftovers.record(history, left, this.#waitLimit);
    const problems = [...check(history), ...group.unsettled()];
    if (problems.length > 0 && this.#options.printsLogs) await this.#printLogs(began, history);
    return problems.map((problem) => `${problem} [${nemesis.log.join(', ')}]`);
  }

  /**
   * What the nodes have logged, who has lost a session, and what is left in the store: a seed says what was attacked, and not
   * how busy the machine was.
   */
  async #printLogs(began: number, history: History): Promise<void> {
    if (history.left.sessions !== 0) {
      const { client } = this.cluster;
      for (const key of await client.keys('arc:*')) console.error(key, await client.hgetall(key).catch(() => ''));
    }
    for (const { name, wire } of history.clients) {
      for (const { frame } of wire) if ('reason' in frame) console.error(`${name} ${frame.reason}`);
    }
    for (const node of this.cluster.nodes) {
      for (const { at, level, message, ...about } of (await node.report()).log) {
        if (at < began) continue;
        const { session, err } = about;
        console.error(
          `${node.name} +${at - began} ms ${level} ${message} ${session ?? ''} ${String(err ?? '').split('\n')[0]}`,
        );
      }
    }
  }

  async #hasNoGateways(): Promise<boolean> {
    const counts = await Promise.all(this.cluster.nodes.map((node) => node.gateways()));
    return counts.every((count) => count === 0);
  }

  get #waitLimit(): number | undefined {
    return this.#options.waitLimit;
  }

  /** A balancer notices that a node is frozen. */
  #pickPort(): number {
    const nodes = this.cluster.nodes.filter(({ isFrozen }) => !isFrozen);
    this.#turn = (this.#turn + 1) % nodes.length;
    return nodes[this.#turn]?.port ?? 0;
  }
}

/** The clients of a run, and what they send. */
class TalkingClients implements ClientGroup {
  readonly #seed: number;
  readonly clients: RecordedClient[];
  readonly #waitLimit: number | undefined;
  #labels = 0;
  #stopped = false;

  constructor(seed: number, clients: RecordedClient[], waitLimit: number | undefined) {
    this.#waitLimit = waitLimit;
    this.#seed = seed;
    this.clients = clients;
  }

  async say(what: string): Promise<void> {
    await this.#say(what, () => true);
  }

  sayConnected(what: string): Promise<boolean> {
    return this.#say(what, ({ isConnected }) => isConnected);
  }

  /** Every client says something in a thread that it never ends. Resolves to whether those that are awaited were told in time. */
  async #say(what: string, isAwaited: (client: RecordedClient) => boolean): Promise<boolean> {
    const thread = { agentId: 'anchor', contextId: 'anchor', stream: true };
    const sends = this.clients.map((client) => ({ client, send: this.#send(client, what, 1, 0, thread) }));
    const isTold = (): boolean => sends.every(({ client, send }) => isSettled(send) || !isAwaited(client));
    const told = until(isTold, `everybody to say ${what}`, this.#waitLimit);
    return await told.then(
      () => true,
      () => false,
    );
  }

  /** Until it is stopped, every client sends messages, cancels some, and ends threads. */
  async talk(): Promise<void> {
    const all = Promise.all(this.clients.map((client, index) => this.#converse(client, index)));
    await all;
    await until(() => this.unsettled().length === 0, 'all answers', this.#waitLimit).catch(() => undefined);
  }

  stop(): void {
    this.#stopped = true;
  }

  unsettled(): string[] {
    return this.clients.flatMap(({ pending }) => pending.map(({ record }) => `${record.label} is never answered`));
  }

  async #converse(client: RecordedClient, index: number): Promise<void> {
    // Of its own: what the nemesis does must not depend on how fast the clients are.
    const random = new Random(this.#seed * 1000 + index);
    while (!this.#stopped) {
      const agentId = `agent-${random.below(2)}`;
      const contextId = `context-${random.below(2)}`;
      const thread = { agentId, contextId, stream: random.chance(0.7) };
      const send = this.#send(client, 'say', 1 + random.below(20), random.below(20), thread);
      if (random.chance(0.1)) client.cancel(send);
      await Promise.race([send.settled, wait(2000)]);
      if (random.chance(0.05)) void client.end(agentId, contextId);
      await wait(random.below(500));
    }
  }

  #send(
    client: RecordedClient,
    what: string,
    pieces: number,
    delay: number,
    thread: { agentId: string; contextId: string; stream: boolean },
  ): RecordedSend {
    const label = `${this.#seed}-${what}-${++this.#labels}`;
    return client.send({ label, pieces, size: 0, delay, held: false }, thread);
  }
}

/** How many connections it has had, on which it had a session. */
function countConnections({ record }: RecordedClient): number {
  return record.wire.filter(({ frame }) => frame.type === 'ready').length;
}

function isSettled({ record }: RecordedSend): boolean {
  return record.outcomes.length > 0;
}
