import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  createRelay,
  type MemoryStore,
  memoryStore,
  type Relay,
  type RelayOptions,
  type SessionStore,
  StoreError,
  type StoreNode,
} from '../../../src/index.js';
import { startTestAgent, type TestAgent } from '../../../src/testing/index.js';
import { Client, type Frame, type Json, Log, to, until } from '../helpers.js';

/** How long nodes live without a renewal, in milliseconds. */
const LEASE = 600;

export interface Ready extends Frame {
  session: string;
  seq: number;
  got: number;
  resumed?: boolean;
  reason?: string;
  pending?: unknown[];
}

export interface NodeOptions extends Partial<RelayOptions> {
  node: string;
  /** Milliseconds. Default `LEASE`. */
  lease?: number;
}

/** A relay on a store that it shares with others, and its WebSocket server. */
export class ClusterNode {
  readonly relay: Relay;
  readonly server: WebSocketServer;
  readonly log: Log;
  readonly sockets: WebSocket[] = [];
  /** While it is set, the node cannot reach the store. */
  isCutOff = false;
  /** What the node asks of the store waits for the promise of that name. */
  readonly gates: Partial<Record<keyof SessionStore, Promise<void>>> = {};
  /** What is asked of the store under these names is done, and the answer is lost. */
  readonly lost = new Set<keyof SessionStore>();
  /** Called with the name of each function of the store that the node calls. */
  onCall: (name: keyof SessionStore) => void = () => undefined;

  constructor(store: SessionStore, agent: TestAgent, options: NodeOptions) {
    const { node, lease = LEASE, ...rest } = options;
    const reachable = new Proxy(store, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as unknown;
        if (typeof method !== 'function') return method;
        return async (...args: unknown[]) => {
          this.onCall(name as keyof SessionStore);
          if (this.isCutOff) throw new StoreError('away', 'cut off');
          await this.gates[name as keyof SessionStore];
          const answer: unknown = await method.apply(target, args);
          if (this.lost.has(name as keyof SessionStore)) throw new StoreError('away', 'the answer was lost');
          return answer;
        };
      },
    });
    this.log = new Log();
    const cluster = { store: reachable, node, lease };
    this.relay = createRelay({ endpoint: agent.endpoint, resume: true, logger: this.log, ...rest, cluster });
    this.server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...this.relay.wsOptions });
    this.server.on('connection', (socket, request) => {
      this.sockets.push(socket);
      this.relay.attach(socket, request, { identity: 'me' });
    });
  }

  get state(): string | undefined {
    return this.relay.stats().cluster?.state;
  }

  async connect(): Promise<Client> {
    const client = new Client(`ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`);
    await once(client.socket, 'open');
    return client;
  }

  /** A connection that has sent `resume`, and the node's answer. */
  async resume(resume: Json = {}): Promise<[Client, Ready]> {
    const client = await this.connect();
    client.send({ type: 'resume', ...resume });
    return [client, (await client.next()) as Ready];
  }

  /** Drops all connections, and waits until the relay has noticed. */
  async dropAll(): Promise<void> {
    const open = [...this.server.clients];
    const gone = open.map((socket) => once(socket, 'close'));
    for (const socket of open) socket.terminate();
    await Promise.all(gone);
  }

  async close(): Promise<void> {
    this.isCutOff = false;
    await this.relay.close({ timeout: 0 });
    for (const socket of this.server.clients) socket.terminate();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export interface TestCluster {
  agent: TestAgent;
  store: MemoryStore;
  nodes: ClusterNode[];
}

/** Relays on one memory store. At the end no chat is open, and the store is empty. */
export async function cluster(t: Test, count: number, options: Omit<NodeOptions, 'node'> = {}): Promise<TestCluster> {
  const agent = await startTestAgent();
  const store = memoryStore();
  const nodes = Array.from({ length: count }, (_, index) => {
    return new ClusterNode(store, agent, { ...options, node: 'abc'[index] as string });
  });
  await Promise.all(nodes.map(({ server }) => (server.address() === null ? once(server, 'listening') : undefined)));
  await until(() => nodes.every(({ state }) => state === 'ok'), 'the nodes to join');
  t.teardown(async () => {
    for (const node of nodes) await node.close();
    await agent.close();
  });
  return { agent, store, nodes };
}

/** A session on a node, with a message whose chat.start has reached the agent, which answers when the gate is released. */
export async function holdStart(agent: TestAgent, node: ClusterNode) {
  const [first, { session }] = await node.resume();
  const gate = agent.hold('chat.start');
  first.send(to('support', 'x', { id: 1 }));
  await gate.arrived;
  return { first, session, gate };
}

/** Counts what a node asks of its store, answered or not. */
export function countCalls(node: ClusterNode, name: keyof SessionStore): { count: number } {
  const calls = { count: 0 };
  node.onCall = (called) => {
    if (called === name) calls.count += 1;
  };
  return calls;
}

/** How the node that renews its lease next names itself to the store. */
export async function renewingNode(store: SessionStore): Promise<StoreNode> {
  const renew = store.renew.bind(store);
  const node = await new Promise<StoreNode>((resolve) => {
    store.renew = (given) => {
      resolve(given);
      return renew(given);
    };
  });
  store.renew = renew;
  return node;
}
