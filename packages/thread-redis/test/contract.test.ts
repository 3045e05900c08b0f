import { RedisServer } from '@arc/test-client';
import { sessionStoreContract } from '@arc/thread-core/testing';
import t from 'tap';
import { redisStore } from '../src/index.js';
import { clients } from './clients.js';

const server = await RedisServer.start();
t.teardown(() => server.stop());

for (const [name, connect] of Object.entries(clients)) {
  t.test(name, async (t) => {
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
