// What an application writes on @arc/thread-redis, which test/types.test.ts compiles as its users may: it is never run.
import { createRelay } from '@arc/thread-core';
import { type RedisStoreOptions, redisStore } from '@arc/thread-redis';
import { createClient, createSentinel } from '@redis/client';
import { Redis } from 'ioredis';

const endpoint = 'http://127.0.0.1:8000/arc';
declare const settings: { prefix?: string; redisTimeout?: number };

/** What an application may not have is passed on as it is. */
const options: RedisStoreOptions = { prefix: settings.prefix, timeout: settings.redisTimeout };
const sentinel = createSentinel({ name: 'arc', sentinelRootNodes: [{ host: '127.0.0.1', port: 26_379 }] });
for (const store of [
  redisStore(createClient(), options),
  redisStore(createClient({ RESP: 3, socket: { port: 6379 } })),
  redisStore(sentinel),
  redisStore(new Redis({ maxLoadingRetryTime: 500 }), { prefix: 'chats:' }),
]) {
  createRelay({ endpoint, resume: { grace: 10_000 }, cluster: { store, node: 'a', lease: 3000 } });
}

// @ts-expect-error: no client
redisStore({});
// @ts-expect-error: there is no such option
redisStore(createClient(), { ttl: 1 });
