/**
 * Internal switch of what only saves time (`json-shape.ts`): every event is parsed without it. It changes no result, which tests
 * with and without it show. It holds for streams that begin afterwards.
 */
export const fastPath = { isEnabled: process.env.ARC_THREADS_FAST_PATH !== 'off' };
