import type { RelayOptions } from '@arc/thread-core';

/** Where a host finds its agents: all at the first, or `agent-N` at the Nth of several. */
export type Endpoints = readonly string[];

/** Finds the endpoint of the agent `name-N`. */
export function endpointOf(endpoints: Endpoints, agentId: string): string | undefined {
  return endpoints[Number(agentId.slice(agentId.lastIndexOf('-') + 1)) % endpoints.length];
}

/** The defaults, but for the one limit that the workloads with many chats would run into. */
export function relayOptions(endpoints: Endpoints): RelayOptions {
  return {
    endpoint: endpoints.length === 1 ? endpoints[0] : (agentId) => endpointOf(endpoints, agentId),
    maxThreads: 100_000,
  };
}
