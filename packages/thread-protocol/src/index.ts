export * from './arc.js';
export * from './close-codes.js';
export * from './error-codes.js';
export * from './frames.js';
export * from './message.js';
