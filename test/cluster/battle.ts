import { setTimeout as wait } from 'node:timers/promises';
import { CuttingProxy } from '@arc/test-client';
import type { Test } from 'tap';
import { recordingAgent } from '../history/answers.js';
import { check } from '../history/check.js';
import { createHistory, type History } from '../history/history.js';
import { RecordedClient, type RecordedSend } from '../history/recorded-client.js';
import { Cluster, until } from './cluster.js';
import { type Attack, Nemesis } from './nemesis.js';

const LEASE = 1000;
/** Longer than everything that the nemesis does: no session may expire. */
const GRACE = 60_000;

/** A cluster, the proxy in front of it, and the clients that talk to it while a nemesis attacks. */
export class Battlefield {
  readonly cluster: Cluster;
  readonly #proxy: CuttingProxy;
  /** That of the battle that is fought now. */
  #history: History = createHistory();
  #turn = 0;

  static async create(t: Test, redis: string[] = []): Promise<Battlefield> {
    let field: Battlefield | undefined;
    // A message that reaches the agent late belongs to the history in which it was sent.
    const handler = recordingAgent(
      () => (field as Battlefield).#history,
      () => Promise.resolve(),
    );
    const cluster = await Cluster.start(t, { lease: LEASE, grace: GRACE, heartbeat: 1000, redis, agent: { handler } });
    const proxy = await CuttingProxy.start(() => (field as Battlefield).#pickPort());
    t.teardown(() => proxy.close());
    field = new Battlefield(cluster, proxy);
    return field;
  }

  private constructor(cluster: Cluster, proxy: CuttingProxy) {
    this.cluster = cluster;
    this.#proxy = proxy;
  }

  /** Clients talk while the nemesis attacks. Resolves to what the checker finds in the history. */
  async fight(seed: number, attacks: readonly Attack[], clientCount: number): Promise<string[]> {
    const history = createHistory();
    this.#history = history;
    const nemesis = new Nemesis(seed, this.cluster, this.#proxy);
    const clients = Array.from(
      { length: clientCount },
      (_, index) => new RecordedClient(history, `seed ${seed} client ${index}`, this.#proxy.url),
    );
    const crowd = new Crowd(seed, clients, nemesis);
    await crowd.say('hello');
    const talking = crowd.talk();
    for (const attack of attacks) {
      await wait(nemesis.random.below(LEASE));
      const withdrawals = clients.flatMap((client) => nemesis.excuses(attack).map((excuse) => client.excuse(excuse)));
      await nemesis.attack(attack);
      await nemesis.heal();
      // Until leases have run out this is not certain.
      if (withdrawals.length > 0) await wait(LEASE * 2);
      for (const withdraw of withdrawals) withdraw();
    }
    crowd.stop();
    await talking;
    await crowd.say('goodbye');
    await Promise.all(clients.map((client) => client.close()));
    this.#proxy.cut();
    await this.#recordLeft(history);
    return [...check(history), ...crowd.unsettled()].map((problem) => `${problem} [${nemesis.log.join(', ')}]`);
  }

  #pickPort(): number {
    const { nodes } = this.cluster;
    this.#turn = (this.#turn + 1) % nodes.length;
    return Number(new URL(nodes[this.#turn]?.url ?? '').port);
  }

  async #recordLeft(history: History): Promise<void> {
    const { agent, client } = this.cluster;
    const sessionKeys = (): Promise<string[]> => client.keys('arc:s:*');
    await until(() => agent.counters.open === 0, 'all chats to be ended').catch(() => undefined);
    await until(async () => (await sessionKeys()).length === 0, 'all sessions to be removed').catch(() => undefined);
    Object.assign(history.left, { chats: agent.counters.open, keys: (await sessionKeys()).length });
  }
}

/** The clients of a battle, and what they say. */
class Crowd {
  readonly #seed: number;
  readonly #clients: RecordedClient[];
  readonly #nemesis: Nemesis;
  #labels = 0;
  #stopped = false;

  constructor(seed: number, clients: RecordedClient[], nemesis: Nemesis) {
    this.#seed = seed;
    this.#clients = clients;
    this.#nemesis = nemesis;
  }

  /** Every client says something in a thread that it never ends. */
  async say(what: string): Promise<void> {
    const thread = { agentId: 'anchor', contextId: 'anchor', stream: true };
    const sends = this.#clients.map((client) => this.#send(client, what, 1, 0, thread));
    await until(() => sends.every(isSettled), `everybody to say ${what}`).catch(() => undefined);
  }

  /** Until it is stopped, every client sends messages, cancels some, and ends threads. */
  async talk(): Promise<void> {
    const all = Promise.all(this.#clients.map((client) => this.#converse(client)));
    await all;
    await until(() => this.unsettled().length === 0, 'all answers').catch(() => undefined);
  }

  stop(): void {
    this.#stopped = true;
  }

  unsettled(): string[] {
    return this.#clients.flatMap(({ pending }) => pending.map(({ record }) => `${record.label} is never answered`));
  }

  async #converse(client: RecordedClient): Promise<void> {
    const { random } = this.#nemesis;
    while (!this.#stopped) {
      const agentId = `agent-${random.below(2)}`;
      const contextId = `context-${random.below(2)}`;
      const thread = { agentId, contextId, stream: random.chance(0.7) };
      const send = this.#send(client, 'say', 1 + random.below(20), random.below(20), thread);
      if (random.chance(0.1)) client.cancel(send);
      await Promise.race([send.settled, wait(2000)]);
      if (random.chance(0.05)) void client.end(agentId, contextId);
      await wait(random.below(200));
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

function isSettled({ record }: RecordedSend): boolean {
  return record.outcomes.length > 0;
}
