export { type AgentServer, startAgentUnlessGiven } from './agent.js';
export { type Asset, pageAssets } from './assets.js';
export { type Environment, readEnvironment, UsageError } from './environment.js';
export { closeServer, type RunningExample, runUntilSignal } from './run.js';
