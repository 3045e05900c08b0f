import { type AgentServer, type AgentServerOptions, createAgentServer } from '@arc/thread-core/testing';
import { finance } from './finance.js';
import { hr } from './hr.js';
import { support } from './support.js';
import { speaker } from './talk.js';

export interface ExampleAgentOptions extends Omit<AgentServerOptions, 'agents'> {
  /** Milliseconds between the words of an answer. Default 25. */
  wordDelay?: number;
}

/** An agent server with three agents: `support`, `finance` and `hr`. */
export function createExampleAgent({ wordDelay = 25, ...options }: ExampleAgentOptions = {}): AgentServer {
  const agents = {
    support: speaker(support, wordDelay),
    finance: speaker(finance, wordDelay),
    hr: speaker(hr, wordDelay),
  };
  return createAgentServer({ ...options, agents });
}
