export { textOf } from '@arc/thread-protocol';
export type { AgentEvent, AgentHandler, AgentPiece, AgentReply, AgentTurn } from './agent.js';
export { echo } from './agent.js';
export type { AgentServer, AgentServerOptions } from './agent-server.js';
export { createAgentServer } from './agent-server.js';
export type {
  Answer,
  AnswerOptions,
  ErrorAnswer,
  EventsAnswer,
  HttpAnswer,
  RawAnswer,
  ReplyAnswer,
  ScriptedAnswer,
  StreamEvent,
} from './answers.js';
export { faults } from './answers.js';
export type { AgentChat } from './chats.js';
export type { Dialect, LostChat } from './dialects.js';
export { dialects } from './dialects.js';
export type { Delivery } from './exchange.js';
export { type StoreContractTest, type StoreHarness, sessionStoreContract } from './store-contract/index.js';
export type {
  Gate,
  RecordedRequest,
  RequestMatcher,
  TestAgent,
  TestAgentCounters,
  TestAgentOptions,
} from './test-agent.js';
export { startTestAgent } from './test-agent.js';
