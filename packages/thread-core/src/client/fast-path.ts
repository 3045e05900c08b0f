/**
 * Internal switch of what only saves time: `json-shape.ts`, without which every event is parsed, and `direct-handler.ts`. It
 * changes no result, which tests with and without it show. It holds for requests that begin afterwards.
 */
export const fastPath = { isEnabled: process.env.ARC_THREADS_FAST_PATH !== 'off' };
