import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { RedisServer } from '@arc/test-client';
import { createThreadClient, type ThreadClient } from '@arc/thread-client';
import type { RelayStats } from '@arc/thread-core';
import { type AgentHandler, startTestAgent, type TestAgent } from '@arc/thread-core/testing';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { WebSocket } from 'ws';
import { forkTypescript } from '../child-process.js';

/** A relay in a process of its own, with resumable sessions. */
export interface ResumableNode {
  readonly child: ChildProcess;
  readonly url: string;
}

/** A Redis server, an agent, and nodes among which clients choose at random, as behind a balancer without affinity. */
export class ResumableCluster {
  readonly agent: TestAgent;
  readonly redis: RedisServer;
  readonly commands: Redis;
  readonly lease = 500;
  readonly clients: ThreadClient[] = [];
  nodes: ResumableNode[] = [];
  #turn = 0;

  static async start(t: Test, count = 3, handler?: AgentHandler): Promise<ResumableCluster> {
    const agent = await startTestAgent(handler === undefined ? {} : { handler });
    const cluster = new ResumableCluster(await RedisServer.start(), agent);
    t.teardown(() => cluster.stop());
    await Promise.all(Array.from({ length: count }, () => cluster.add()));
    return cluster;
  }

  private constructor(redis: RedisServer, agent: TestAgent) {
    this.redis = redis;
    this.agent = agent;
    this.commands = new Redis(redis.url);
    this.commands.on('error', () => undefined);
  }

  /** `env`: the environment of the node, if it is another one than that of the test. */
  async add(env: NodeJS.ProcessEnv = process.env): Promise<ResumableNode> {
    const options = { endpoint: this.agent.endpoint, redis: this.redis.url, lease: this.lease };
    const child = forkTypescript(new URL('resumable-node.ts', import.meta.url), [JSON.stringify(options)], env);
    const [{ url }] = (await once(child, 'message')) as [{ url: string }];
    const node = { child, url };
    this.nodes.push(node);
    return node;
  }

  /** Takes a node out of the balancer, and ends its process. */
  async remove(node: ResumableNode, signal: NodeJS.Signals): Promise<void> {
    this.nodes = this.nodes.filter((other) => other !== node);
    const exit = once(node.child, 'exit');
    node.child.kill(signal);
    await exit;
  }

  async statsOf({ child }: ResumableNode): Promise<RelayStats> {
    const answer = once(child, 'message');
    child.send('stats');
    return (await answer)[0] as RelayStats;
  }

  /** A client that is sent to the nodes in turn. */
  client(): ThreadClient {
    const client = createThreadClient({
      url: () => {
        this.#turn += 1;
        return (this.nodes[this.#turn % this.nodes.length] as ResumableNode).url;
      },
      backoff: { min: 20, max: 200 },
      WebSocket,
    });
    this.clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    for (const { child } of this.nodes) child.kill('SIGKILL');
    this.commands.disconnect();
    await this.agent.close();
    await this.redis.stop();
  }
}
