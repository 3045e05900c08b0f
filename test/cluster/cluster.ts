import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { RecordingClient, RedisServer, until } from '@arc/test-client';
import type { RelayStats } from '@arc/thread-core';
import { startTestAgent, type TestAgent, type TestAgentOptions } from '@arc/thread-core/testing';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { forkTypescript } from '../child-process.js';

export interface Report {
  stats: RelayStats;
  /** How often the node has renewed its lease. */
  renewals: number;
  /** `at`: milliseconds since 1970. */
  log: { at: number; level: string; message: string; [field: string]: unknown }[];
}

/** A relay in a process of its own. */
export class Node {
  readonly child: ChildProcess;
  readonly url: string;
  readonly name: string;
  isFrozen = false;

  constructor(name: string, child: ChildProcess, url: string) {
    this.name = name;
    this.child = child;
    this.url = url;
  }

  report(): Promise<Report> {
    return this.#ask('report');
  }

  /** Whether it is in the cluster, and can write to the store. */
  async isOk(): Promise<boolean> {
    return (await this.#ask('stats')).stats.cluster?.state === 'ok';
  }

  /** How many connections it has whose sessions are on other nodes. */
  async gateways(): Promise<number | undefined> {
    return (await this.#ask('stats')).stats.cluster?.gateways;
  }

  async renewals(): Promise<number> {
    return (await this.#ask('stats')).renewals;
  }

  async #ask(what: 'report' | 'stats'): Promise<Report> {
    const answer = once(this.child, 'message');
    this.child.send(what);
    return (await answer)[0] as Report;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    await exit;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  freeze(): void {
    this.isFrozen = true;
    this.child.kill('SIGSTOP');
  }

  /** Lets a frozen process run again. */
  thaw(): void {
    this.isFrozen = false;
    this.child.kill('SIGCONT');
  }

  connect(): Promise<RecordingClient> {
    return RecordingClient.open(this.url);
  }
}

export interface ClusterOptions {
  nodes?: number;
  lease?: number;
  cleanupTimeout?: number;
  agent?: TestAgentOptions;
  /** Where an agent is that the cluster need not start. */
  endpoint?: string;
  redis?: string[];
  /** Milliseconds that a session is kept without a connection. Without it sessions are not resumable. */
  grace?: number;
  /** Milliseconds between pings. */
  heartbeat?: number;
  /** The environment of the nodes. Default: that of the test. */
  env?: NodeJS.ProcessEnv;
}

/** A Redis server, an agent, and relays in processes of their own. */
export class Cluster {
  readonly redis: RedisServer;
  readonly #agent: TestAgent | undefined;
  /** For the test itself. */
  readonly client: Redis;
  readonly nodes: Node[] = [];
  readonly lease: number;
  readonly cleanupTimeout: number;
  readonly #options: ClusterOptions;
  #added = 0;

  static async start(t: Test, options: ClusterOptions = {}): Promise<Cluster> {
    const redis = await RedisServer.start(...(options.redis ?? []));
    const agent = options.endpoint === undefined ? await startTestAgent(options.agent) : undefined;
    const cluster = new Cluster(redis, agent, options);
    t.teardown(() => cluster.stop());
    await Promise.all(Array.from({ length: options.nodes ?? 3 }, () => cluster.add()));
    return cluster;
  }

  private constructor(redis: RedisServer, agent: TestAgent | undefined, options: ClusterOptions) {
    const { lease = 500, cleanupTimeout = 1000 } = options;
    this.#options = options;
    this.redis = redis;
    this.#agent = agent;
    this.lease = lease;
    this.cleanupTimeout = cleanupTimeout;
    // What is asked of a server that is away waits for it.
    this.client = new Redis(redis.url, { retryStrategy: () => 50, maxRetriesPerRequest: null });
    this.client.on('error', () => undefined);
  }

  /** The agent that the cluster has started. */
  get agent(): TestAgent {
    if (this.#agent === undefined) throw new Error('The agent is in a process of its own');
    return this.#agent;
  }

  /** Milliseconds within which the chats of a dead node must be ended. */
  get bound(): number {
    return this.lease * 2 + this.cleanupTimeout;
  }

  async add(given?: string): Promise<Node> {
    this.#added += 1;
    const name = given ?? `node-${this.#added}`;
    const { lease, cleanupTimeout } = this;
    const { grace, heartbeat, env = process.env } = this.#options;
    // The agent serves every path, and so can tell which node asks.
    const where = { endpoint: `${this.#options.endpoint ?? this.agent.endpoint}/${name}`, redis: this.redis.url };
    const options = { ...where, lease, cleanupTimeout, node: name, grace, heartbeat };
    const child = forkTypescript(new URL('node-process.ts', import.meta.url), [JSON.stringify(options)], env);
    const [{ url }] = (await once(child, 'message')) as [{ url: string }];
    const added = new Node(name, child, url);
    this.nodes.push(added);
    await until(() => added.isOk(), 'the node to join');
    return added;
  }

  /** Stops a node, which is no longer one of `nodes`. */
  async remove(node: Node, signal: NodeJS.Signals): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    await node.kill(signal);
  }

  /** Stops all nodes as a deployment does, and returns the keys that are left. */
  async shutDown(): Promise<string[]> {
    await Promise.all(this.nodes.map((node) => node.kill('SIGTERM')));
    return this.client.keys('*');
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    this.client.disconnect();
    await this.#agent?.close();
    await this.redis.stop();
  }
}
