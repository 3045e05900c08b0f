export * from './client.js';
export * from './cutting-proxy.js';
export * from './frames.js';
export * from './random.js';
export * from './recording-client.js';
export * from './redis-server.js';
export * from './waits.js';
