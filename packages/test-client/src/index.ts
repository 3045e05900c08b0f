export * from './client.js';
export * from './frames.js';
export * from './recording-client.js';
export * from './waits.js';
