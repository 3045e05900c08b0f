import { randomUUID } from 'node:crypto';
import { createExampleAgent } from '@arc-examples/agent';
import type { Environment } from './environment.js';

/** An agent server, and what it takes to stop it. */
export interface AgentServer {
  endpoint: string;
  token: string | undefined;
  close(): Promise<void>;
}

/** The agent server of ARC_ENDPOINT. Without it, the example's own, which is started here. */
export async function startAgentUnlessGiven(environment: Environment): Promise<AgentServer> {
  const { endpoint, token } = environment;
  if (endpoint !== undefined) return { endpoint, token, close: async () => {} };
  const ownToken = randomUUID();
  const agent = createExampleAgent({ token: ownToken });
  return { endpoint: await agent.listen(0, '127.0.0.1'), token: ownToken, close: () => agent.close() };
}
