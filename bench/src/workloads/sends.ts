import type { Host } from '../measure/stage.js';
import type { Goals, Workload } from './types.js';

interface SendsOptions {
  name: string;
  x: number;
  connections: number;
  /** Number of sends of each host in a round. */
  count: number;
  agents?: readonly string[];
  /** Size of each message and its answer in bytes. Default: a few words. */
  bytes?: number;
  /** Number of events of each answer. Default: not streamed. */
  events?: number;
  /** Whether every chat is started before the measurement. */
  startsChats?: boolean;
  goals?: Goals | undefined;
}

/** Number of turns of each host in a round, so that other activity of the machine affects all hosts alike. */
const SLICES = 4;

/** Connections that each send a message, await its answer, and send the next. */
export function sends(options: SendsOptions): Workload {
  const { name, x, connections, agents = ['support'], bytes = 0, events = 0, goals } = options;
  const slices = Math.min(SLICES, options.count);
  const count = Math.ceil(options.count / slices / connections) * connections;
  const job = (host: Host) => ({ name: `${name} ${host.kind}`, agents, bytes, events });
  return {
    name,
    unit: events > 0 ? 'event' : 'round trip',
    x,
    unitsEach: events > 0 ? events : 1,
    slices,
    goals,
    open: async ({ load }, host) => {
      await load.call('open', `${name} ${host.kind}`, host.url, connections);
      if (options.startsChats) await load.call('send', { ...job(host), count: connections * agents.length });
    },
    batch: ({ load }, host) => load.call('send', { ...job(host), count }),
  };
}
