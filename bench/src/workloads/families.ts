import { FEATURES, type HostKind, RELAYS } from '../hosts/kinds.js';
import { churn, endOfChats } from './closing.js';
import { sends } from './sends.js';
import type { Family, Workload } from './types.js';

/** The hosts of all families other than JSON and streams. */
export function fewerHosts(hosts: readonly HostKind[], quick: boolean): HostKind[] {
  return hosts.filter((kind) => (quick ? kind === 'floor' || kind === 'core' : kind !== 'plain'));
}

/**
 * All workloads that are measured as CPU. `plain` takes part only in JSON and streams. A quick run has smaller batches, and the
 * adapters take part only in JSON and streams.
 */
export function families(hosts: readonly HostKind[], quick: boolean): Family[] {
  const scale = quick ? 0.2 : 1;
  const relays = RELAYS.filter((kind) => hosts.includes(kind));
  const some = (count: number): number => Math.max(1, Math.round(count * scale));
  const numbered = (length: number, name: string): string[] => Array.from({ length }, (_, n) => `${name}-${n}`);
  const base = { hosts: relays, servers: 1 };
  const fewer = { ...base, hosts: fewerHosts(relays, quick) };
  // Of families with goals. Even, so that each host starts as often before another one as after it.
  const processes = quick ? 2 : 4;
  // bench/README.md gives the reasons for the goals.
  const json = { core: 1.2, adapters: 1.25 };
  const streams = { burst: { core: 1.45, adapters: 1.45, plain: 0.8 }, tick: { core: 1.15, adapters: 1.15 } };
  // 16 connections to each origin: with more, all hosts together would exhaust the file descriptors of the agents.
  const inTurn = (name: string, agents: number, count: number): Workload =>
    sends({
      name: `${name}-${agents}`,
      x: agents,
      connections: 16,
      count,
      agents: numbered(agents, 'support'),
      startsChats: true,
    });
  const features = FEATURES.filter((kind) => hosts.includes(kind));
  const feature = { hosts: ['core', ...features] as const, baseline: 'core' as const, servers: 1, processes };
  const featureGoals = { hosts: { 'resume-unused': 1.02, resume: 1.08, cluster: 1.03 } };
  const withFeatures = (): Family => ({
    ...feature,
    name: 'features',
    title: 'Features of the core',
    about:
      'JSON round trips and streams of 100 events on 64 connections, and new chats. `resume-unused`: sessions are resumable, but the clients do not ask for it; `resume`: they do; `cut`: in addition the node is one of a cluster, and each stream loses its connection after its first event, and is resumed; `cluster`: one node, with a store in memory; `traced`: with a subscriber on each tracing channel.',
    workloads: [
      sends({ name: 'features-json', x: 0, connections: 64, count: 8000, goals: featureGoals }),
      sends({
        name: 'features-burst',
        x: 1,
        connections: 64,
        count: 5120,
        agents: ['burst-100'],
        events: 100,
        goals: featureGoals,
      }),
      sends({
        name: 'features-tick',
        x: 2,
        connections: 64,
        count: 512,
        agents: ['tick-100'],
        events: 100,
        goals: featureGoals,
      }),
      churn('features-chat', 600, true),
    ],
  });
  const withoutChannels: Family = {
    ...{ hosts: ['untraced', 'core'], baseline: 'untraced', servers: 1, processes },
    name: 'channels',
    title: 'Tracing channels without a subscriber',
    about: 'JSON round trips on 64 connections. `untraced`: the core in a process without tracing channels.',
    workloads: [sends({ name: 'channels-json', x: 0, connections: 64, count: 8000, goals: { hosts: { core: 1.01 } } })],
  };
  return [
    {
      ...base,
      processes,
      name: 'json',
      title: 'JSON round trips',
      about: 'A message, and its answer as one JSON document. Each connection has one message in flight.',
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
      processes,
      name: 'stream',
      title: 'Streams of 100 events',
      about:
        '64 connections with one stream each: all events at once, or one event in each turn of the agent’s event loop.',
      workloads: (['burst', 'tick'] as const).map((how, x) =>
        sends({
          name: `stream-${how}`,
          x,
          connections: 64,
          count: some(how === 'burst' ? 5120 : 512),
          agents: [`${how}-100`],
          events: 100,
          goals: streams[how],
        }),
      ),
    },
    ...(quick || features.length === 0 ? [] : [withFeatures()]),
    ...(quick || !hosts.includes('core') ? [] : [withoutChannels]),
    {
      ...fewer,
      name: 'size',
      title: 'Messages by size',
      about: 'Messages of a given size, with answers of the same size; 4 connections.',
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
      title: 'Connection churn',
      about: 'Open and close, 32 at a time: without a message, and with one message and its chat.end.',
      workloads: [churn('churn', some(800), false), churn('churn-chat', some(600), true)],
    },
    {
      ...fewer,
      name: 'end',
      title: 'Ending 20 chats',
      about:
        '20 connections with 20 chats each close at once. The time ends when the agent has received every chat.end.',
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
      about: 'JSON round trips on 16 connections, each of which sends to all agents in turn.',
      growsBy: 'agents',
      workloads: [1, 10, 100].map((agents) => inTurn('agents', agents, some(4000))),
    },
    {
      ...fewer,
      name: 'origins',
      title: 'Growth: agents, each at its own origin',
      about: 'The same, but each agent has its own server and its own connections.',
      growsBy: 'agents',
      servers: 100,
      workloads: [1, 10, 100].map((agents) => inTurn('origins', agents, some(4000))),
    },
    {
      ...fewer,
      name: 'chats',
      title: 'Growth: open chats',
      about: 'JSON round trips on 10 connections, each of which sends to all of its chats in turn.',
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
      about: 'One connection, one stream after another, in bursts. Memory is measured during the longest.',
      growsBy: 'events',
      watchesMemory: true,
      workloads: [100, 1000, 10_000, 100_000].map((events) =>
        sends({
          name: `events-${events}`,
          x: events,
          connections: 1,
          // The longest stream keeps its length in a quick run, because its length is what it measures.
          count: Math.max(1, some(100_000 / events)),
          agents: [`burst-${events}`],
          events,
        }),
      ),
    },
  ];
}
