import { type HostKind, RELAYS } from '../hosts/kinds.js';
import { churn, endOfChats } from './closing.js';
import { sends } from './sends.js';
import type { Family, Workload } from './types.js';

/** Those of the hosts with which anything else than JSON and streams is measured. */
export function fewerHosts(hosts: readonly HostKind[], quick: boolean): HostKind[] {
  return hosts.filter((kind) => (quick ? kind === 'floor' || kind === 'core' : kind !== 'plain'));
}

/**
 * All that is measured as CPU. Beyond JSON and streams `plain` is left out, and of a quick run, which has smaller batches,
 * so are the adapters.
 */
export function families(hosts: readonly HostKind[], quick: boolean): Family[] {
  const scale = quick ? 0.2 : 1;
  const relays = RELAYS.filter((kind) => hosts.includes(kind));
  const some = (count: number): number => Math.max(1, Math.round(count * scale));
  const numbered = (length: number, name: string): string[] => Array.from({ length }, (_, n) => `${name}-${n}`);
  const base = { hosts: relays, servers: 1 };
  const fewer = { ...base, hosts: fewerHosts(relays, quick) };
  const json = { core: 1.15, adapters: 1.25 };
  const streams = { core: 1.25, adapters: 1.35 };
  // Each host keeps 16 connections to each origin: with more, all hosts together come to the end of the agents' descriptors.
  const inTurn = (name: string, agents: number, count: number): Workload =>
    sends({
      name: `${name}-${agents}`,
      x: agents,
      connections: 16,
      count,
      agents: numbered(agents, 'support'),
      startsChats: true,
    });
  return [
    {
      ...base,
      name: 'json',
      title: 'JSON round trips',
      about: 'A message, and its answer in one piece of JSON. Each connection has one message under way.',
      workloads: [1, 16, 64, 256].map((connections) =>
        sends({
          name: `json-${connections}`,
          x: connections,
          connections,
          count: some(connections === 1 ? 1000 : 8000),
          goals: connections >= 64 ? json : undefined,
        }),
      ),
    },
    {
      ...base,
      name: 'stream',
      title: 'Streams of 100 events',
      about:
        '64 connections with one stream each: the events all at once, or one in each turn of the agent’s event loop.',
      workloads: (['burst', 'tick'] as const).map((how, x) =>
        sends({
          name: `stream-${how}`,
          x,
          connections: 64,
          count: some(how === 'burst' ? 5120 : 512),
          agents: [`${how}-100`],
          events: 100,
          goals: streams,
        }),
      ),
    },
    {
      ...fewer,
      name: 'size',
      title: 'Messages by size',
      about: 'Messages of so many bytes, answered with as many; 4 connections.',
      workloads: (
        [
          ['1k', 1000, 3200],
          ['64k', 64_000, 480],
          ['1m', 1_000_000, 32],
        ] as const
      ).map(([name, bytes, count]) =>
        sends({ name: `size-${name}`, x: bytes, connections: 4, count: some(count), agents: ['echo'], bytes }),
      ),
    },
    {
      ...fewer,
      name: 'churn',
      title: 'Connections that come and go',
      about: 'Open and close, 32 at a time: without a word, and with one message and the end of its chat.',
      workloads: [churn('churn', some(800), false), churn('churn-chat', some(600), true)],
    },
    {
      ...fewer,
      name: 'end',
      title: 'The end of 20 chats',
      about:
        '20 connections with 20 chats each close at once. The time is until the agent has heard of every chat’s end.',
      workloads: [endOfChats('end-20', 20, 20)],
    },
    {
      ...fewer,
      name: 'connections',
      title: 'Growth: connections',
      about: 'JSON round trips, as in the first table.',
      growsBy: 'connections',
      workloads: [10, 100, 1000].map((connections) =>
        sends({ name: `connections-${connections}`, x: connections, connections, count: some(4000) }),
      ),
    },
    {
      ...fewer,
      name: 'agents',
      title: 'Growth: agents at one endpoint',
      about: 'JSON round trips on 16 connections, each of which talks to all agents in turn.',
      growsBy: 'agents',
      workloads: [1, 10, 100].map((agents) => inTurn('agents', agents, some(4000))),
    },
    {
      ...fewer,
      name: 'origins',
      title: 'Growth: agents, each at an origin of its own',
      about: 'The same, but each agent is behind a server of its own, with connections of its own.',
      growsBy: 'agents',
      servers: 100,
      workloads: [1, 10, 100].map((agents) => inTurn('origins', agents, some(4000))),
    },
    {
      ...fewer,
      name: 'chats',
      title: 'Growth: open chats',
      about: 'JSON round trips on 10 connections, each of which takes turns with all of its chats.',
      growsBy: 'chats',
      workloads: [10, 100, 1000, 10_000].map((chats) =>
        sends({
          name: `chats-${chats}`,
          x: chats,
          connections: 10,
          count: some(4000),
          agents: numbered(chats / 10, `of${chats}`),
          startsChats: true,
        }),
      ),
    },
    {
      ...fewer,
      name: 'events',
      title: 'Growth: events of one stream',
      about: 'One connection, one stream after the other, in bursts. Memory is watched during the longest.',
      growsBy: 'events',
      watchesMemory: true,
      workloads: [100, 1000, 10_000, 100_000].map((events) =>
        sends({
          name: `events-${events}`,
          x: events,
          connections: 1,
          // The longest is never made shorter: it is what it is there for.
          count: Math.max(1, some(100_000 / events)),
          agents: [`burst-${events}`],
          events,
        }),
      ),
    },
  ];
}
