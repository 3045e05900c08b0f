import { until } from '@arc/test-client';
import type { AgentProcess } from './agent.js';
import type { Cluster, Node } from './cluster.js';

/** A client that can be kept from connecting again. */
export interface ReconnectingClient {
  readonly session: string | undefined;
  goOffline(): void;
  goOnline(): void;
}

/** Finds the node that ends the chats of sessions which nobody resumes, while it does so. */
export class ReaperFinder {
  readonly #cluster: Cluster;
  readonly #offline: ReconnectingClient[] = [];
  readonly #agent: AgentProcess;

  constructor(cluster: Cluster, agent: AgentProcess) {
    this.#cluster = cluster;
    this.#agent = agent;
  }

  /** Every second client of a node will not come back when its connection is lost. Their chats cannot be ended. */
  async takeOffline(node: Node, clients: readonly ReconnectingClient[]): Promise<void> {
    const chats = new Set<string>();
    for (const [index, client] of clients.entries()) {
      const { session = '' } = client;
      const sid = session.slice(0, session.indexOf('.'));
      const { owner, ...fields } = await this.#cluster.client.hgetall(`arc:s:${sid}`);
      if (index % 2 === 1 || owner !== node.name) continue;
      client.goOffline();
      this.#offline.push(client);
      for (const name of Object.keys(fields)) if (name.startsWith('t:')) chats.add(name.slice(2));
    }
    await this.#agent.ask('hold', [...chats]);
  }

  /** The node that has begun to end them. */
  async find(): Promise<Node> {
    let path = '';
    const isFound = async (): Promise<boolean> => {
      path = (await this.#agent.ask('held'))[0]?.path ?? '';
      return path !== '';
    };
    await until(isFound, 'a node to end the chats of the dead one');
    return this.#cluster.nodes.find(({ name }) => path.endsWith(`/${name}`)) as Node;
  }

  /** That node is dead. From now on the chats can be ended, and the clients come back. */
  async bringBack(): Promise<void> {
    const isCutOff = async (): Promise<boolean> => (await this.#agent.ask('held')).every(({ aborted }) => aborted);
    await until(isCutOff, 'the requests of the dead node to be cut off');
    await this.#agent.ask('release');
    for (const client of this.#offline) client.goOnline();
  }
}
