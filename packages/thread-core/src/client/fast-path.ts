/**
 * Internal switch of everything that reads streams faster than the parsers of SSE and JSON do. It changes no result: tests
 * run with and without it. It holds for streams that begin afterwards.
 */
export const fastPath = { isEnabled: process.env.ARC_THREADS_FAST_PATH !== 'off' };
