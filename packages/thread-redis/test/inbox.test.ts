// The connection over which a node reads its inbox: one that is never made, and one that falls silent.
import { CuttingProxy, RedisServer, until } from '@arc/test-client';
import type { JsonValue } from '@arc/thread-core';
import { createClient } from '@redis/client';
import t from 'tap';
import { redisStore } from '../src/index.js';
import { clients } from './clients.js';

const NODE = { name: 'a', incarnation: 'x', lease: 60_000 };

// Their connections wait for most of the time.
t.jobs = 4;

for (const [name, connect] of Object.entries(clients)) {
  t.test(`${name}: reading can be stopped although its connection was never made [S-125]`, async (t) => {
    const server = await RedisServer.start('--maxclients', '1');
    t.teardown(() => server.stop());
    const used = await connect(server.url);
    t.teardown(() => used.close());
    const store = redisStore(used.client, { timeout: 5000 });
    await store.join(NODE);
    const isRefused = async (): Promise<boolean> =>
      /rejected_connections:[1-9]/.test(String(await used.command('INFO', 'stats')));
    const stop = await store.onPost(NODE, () => undefined);
    await until(isRefused, 'the connection to be refused');
    await stop();
  });
}

for (const name of ['node-redis 6', 'node-redis 6 with RESP 2', 'node-redis 5']) {
  t.test(`${name}: a connection that is being opened when reading is stopped does not stay [S-125]`, async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const used = await (clients[name] as (typeof clients)[string])(server.url);
    t.teardown(() => used.close());
    const store = redisStore(used.client, { timeout: 500 });
    await store.join(NODE);
    const stop = await store.onPost(NODE, () => undefined);
    await stop();
    const wasOpened = async (): Promise<boolean> =>
      /total_connections_received:[2-9]/.test(String(await used.command('INFO', 'stats')));
    await until(wasOpened, 'the connection to be opened');
    const open = async (): Promise<number> =>
      String(await used.command('CLIENT', 'LIST'))
        .trim()
        .split('\n').length;
    await until(async () => (await open()) === 1, 'it to be closed');
  });
}

t.test(
  'a connection that could not be opened is opened again, also if its client would not do so [S-125]',
  async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const client = createClient({ url: server.url, socket: { reconnectStrategy: false } });
    client.on('error', () => undefined);
    await client.connect();
    t.teardown(() => client.destroy());
    const store = redisStore(client, { timeout: 500 });
    await store.join(NODE);
    await client.sendCommand(['CONFIG', 'SET', 'maxclients', '1']);
    const messages: JsonValue[] = [];
    const stop = await store.onPost(NODE, (message) => messages.push(message));
    const isRefused = async (): Promise<boolean> =>
      /rejected_connections:[1-9]/.test(String(await client.sendCommand(['INFO', 'stats'])));
    await until(isRefused, 'the connection to be refused');
    await client.sendCommand(['CONFIG', 'SET', 'maxclients', '100']);
    await store.post('a', 1);
    await until(() => messages.length === 1, 'the message');
    await stop();
  },
);

for (const name of ['node-redis 6', 'ioredis 6']) {
  t.test(`${name}: an inbox is read again after its connection has fallen silent [S-125]`, async (t) => {
    const server = await RedisServer.start();
    t.teardown(() => server.stop());
    const proxy = await CuttingProxy.start(server.port);
    t.teardown(() => proxy.close());
    const connect = clients[name] as (typeof clients)[string];
    const used = await connect(`redis://127.0.0.1:${new URL(proxy.url).port}`);
    t.teardown(() => used.close());
    const direct = await connect(server.url);
    t.teardown(() => direct.close());
    const store = redisStore(used.client, { timeout: 500 });
    const other = redisStore(direct.client, { timeout: 500 });
    await store.join(NODE);
    const messages: JsonValue[] = [];
    const stop = await store.onPost(NODE, (message) => messages.push(message));
    await other.post('a', 1);
    await until(() => messages.length === 1, 'the first message');
    // Its connections swallow what is sent from now on, and new ones work.
    proxy.silence();
    await other.post('a', 2);
    await until(() => messages.length === 2, 'the second message', 30_000);
    t.strictSame(messages, [1, 2]);
    await stop();
  });
}
