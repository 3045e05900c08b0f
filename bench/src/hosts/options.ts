import type { AgentSource, RelayOptions } from '@arc/thread-core';

/** The endpoints of a host's agents: one for all agents, or several, with `agent-N` at the Nth. */
export type Endpoints = readonly string[];

/** Finds the endpoint of the agent `name-N`. */
export function endpointOf(endpoints: Endpoints, agentId: string): string | undefined {
  return endpoints[Number(agentId.slice(agentId.lastIndexOf('-') + 1)) % endpoints.length];
}

/** The defaults, except for the one limit that the workloads with many chats would reach. */
export function relayOptions(endpoints: Endpoints): RelayOptions & AgentSource {
  return {
    endpoint: endpoints.length === 1 ? endpoints[0] : (agentId) => endpointOf(endpoints, agentId),
    maxThreads: 100_000,
  };
}
