import { createClient } from '@redis/client';
import { createClient as createClient5 } from '@redis/client5';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from 'ioredis5';
import type { IoRedisClient, NodeRedisClient, RedisClient } from '../src/index.js';

export interface TestClient {
  client: RedisClient;
  /** Sends a command of the test's own. */
  command(...args: string[]): Promise<unknown>;
  close(): void;
  /** Closes the client when its commands are answered. */
  end(): Promise<unknown>;
}

/** `pause`: milliseconds between two attempts to connect again. */
type Connect = (url: string, pause?: number) => Promise<TestClient>;

const after =
  (pause = 20) =>
  (): number =>
    pause;

async function nodeRedis(
  client: NodeRedisClient & {
    sendCommand(args: string[]): Promise<unknown>;
    close(): Promise<unknown>;
    isOpen: boolean;
  },
): Promise<TestClient> {
  client.on('error', () => undefined);
  await client.connect();
  return {
    client,
    command: (...args) => client.sendCommand(args),
    close: () => {
      if (client.isOpen) client.destroy();
    },
    end: () => client.close(),
  };
}

function ioRedis(client: IoRedisClient & { quit(): Promise<unknown> }): TestClient {
  client.on('error', () => undefined);
  return {
    client,
    command: (name = '', ...args) => client.call(name, args),
    close: () => client.disconnect(),
    end: () => client.quit(),
  };
}

/** All client libraries that the store works with. */
export const clients: Record<string, Connect> = {
  'node-redis 6': (url, pause) => nodeRedis(createClient({ url, socket: { reconnectStrategy: after(pause) } })),
  'node-redis 6 with RESP 2': (url, pause) =>
    nodeRedis(createClient({ url, RESP: 2, socket: { reconnectStrategy: after(pause) } })),
  'node-redis 5': (url, pause) => nodeRedis(createClient5({ url, socket: { reconnectStrategy: after(pause) } })),
  'ioredis 6': async (url, pause) => ioRedis(new Redis(url, { retryStrategy: after(pause) })),
  'ioredis 6 with RESP 3': async (url, pause) => ioRedis(new Redis(url, { retryStrategy: after(pause), protocol: 3 })),
  'ioredis 5': async (url, pause) => ioRedis(new Redis5(url, { retryStrategy: after(pause) })),
};
