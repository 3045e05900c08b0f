import type { Host } from '../measure/stage.js';
import type { Goals, Workload } from './types.js';

interface SendsOptions {
  name: string;
  x: number;
  connections: number;
  /** Sends in a round, on each host. */
  count: number;
  agents?: readonly string[];
  /** Bytes of each message and its answer; a few words without it. */
  bytes?: number;
  /** Events of each answer; it is one piece of JSON without it. */
  events?: number;
  /** Every chat is started before it is measured. */
  startsChats?: boolean;
  goals?: Goals | undefined;
}

/** A round's work is cut into so many pieces, so that what else the machine does meets all hosts alike. */
const SLICES = 4;

/** Connections that each send a message, wait for its answer, and send the next. */
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
