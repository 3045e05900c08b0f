/**
 * Internal switch of everything that only saves time: streams and answers are read in a plainer way without it. It changes
 * no result, which tests with and without it show. It holds for requests that begin afterwards.
 */
export const fastPath = { isEnabled: process.env.ARC_THREADS_FAST_PATH !== 'off' };
