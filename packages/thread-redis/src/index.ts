export type { IoRedisClient, NodeRedisClient, RedisClient } from './connection.js';
export { type RedisStoreOptions, redisStore } from './redis-store.js';
