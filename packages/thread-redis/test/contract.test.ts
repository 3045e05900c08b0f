// The store does what every store must do, with each client, on each server that is installed.
import { spawnSync } from 'node:child_process';
import { RedisServer } from '@arc/test-client';
import { sessionStoreContract } from '@arc/thread-core/testing';
import t from 'tap';
import { redisStore } from '../src/index.js';
import { clients } from './clients.js';

const isInstalled = (program: string): boolean => spawnSync(program, ['--version']).status === 0;
const servers = [await RedisServer.start()];
if (isInstalled('valkey-server')) servers.push(await RedisServer.startProgram('valkey-server'));
t.teardown(() => Promise.all(servers.map((server) => server.stop())));

for (const [index, server] of servers.entries()) {
  for (const [name, connect] of Object.entries(clients)) {
    t.test(index === 0 ? name : `${name}, with Valkey`, async (t) => {
      const connections = [await connect(server.url), await connect(server.url), await connect(server.url)];
      t.teardown(() => {
        for (const connection of connections) connection.close();
      });
      let at = 0;
      const [first] = connections;
      const flush = async (): Promise<void> => {
        await first?.command('FLUSHALL');
      };
      sessionStoreContract((title, body) => t.test(title, () => body()), {
        connect: async () => {
          at = (at + 1) % connections.length;
          return redisStore((connections[at] as (typeof connections)[number]).client);
        },
        reset: flush,
        lose: flush,
      });
    });
  }
}
