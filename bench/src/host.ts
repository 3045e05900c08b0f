import { type HostKind, startHost } from './hosts/kinds.js';
import type { Endpoints } from './hosts/options.js';
import { startProfile, stopProfile } from './process/profiler.js';
import { serve } from './process/serve.js';

/** A process of one host, and what the operating system and V8 say of it. */

let peak = 0;
let watch: NodeJS.Timeout | undefined;

const api = {
  start: (kind: HostKind, endpoints: Endpoints): Promise<number> => startHost(kind, endpoints),
  /** Microseconds of CPU, user and system, since the process began. */
  cpu: (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  /** Bytes that are resident; garbage is collected first where that is asked for. */
  rss: async (collect: boolean): Promise<number> => {
    if (collect) {
      for (let times = 0; times < 3; times += 1) {
        globalThis.gc?.();
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    return process.memoryUsage.rss();
  },
  /** Bytes of V8's heap that are in use. */
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
