import { type HostKind, startHost } from './hosts/kinds.js';
import type { Endpoints } from './hosts/options.js';
import { startProfile, stopProfile } from './process/profiler.js';
import { serve } from './process/serve.js';

/** The process of one host, with its CPU and memory figures. */

let peak = 0;
let watch: NodeJS.Timeout | undefined;

const api = {
  start: (kind: HostKind, endpoints: Endpoints): Promise<number> => startHost(kind, endpoints),
  /** CPU time since the start of the process, user and system, in µs. */
  cpu: (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  /** Resident memory in bytes, optionally after garbage collection. */
  rss: async (collect: boolean): Promise<number> => {
    if (collect) {
      for (let times = 0; times < 3; times += 1) {
        globalThis.gc?.();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    return process.memoryUsage.rss();
  },
  /** Used bytes of V8's heap. */
  heap: (): number => process.memoryUsage().heapUsed,
  watchPeak: (): void => {
    peak = process.memoryUsage.rss();
    watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 10);
  },
  peak: (): number => {
    clearInterval(watch);
    return peak;
  },
  startProfile,
  stopProfile,
};

export type HostApi = typeof api;

serve(api);
