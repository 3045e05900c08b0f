/** Names of the OpenTelemetry conventions for generative AI, version 0.1.0, and of our own. */
export const Attribute = {
  OperationName: 'gen_ai.operation.name',
  ProviderName: 'gen_ai.provider.name',
  AgentId: 'gen_ai.agent.id',
  /** The same as the id: ARC's agents have no other name. The name of the span is made of it. */
  AgentName: 'gen_ai.agent.name',
  ConversationId: 'gen_ai.conversation.id',
  ServerAddress: 'server.address',
  ServerPort: 'server.port',
  ErrorType: 'error.type',
  /** The session of the relay. */
  SessionId: 'arc.session.id',
  /** `context_id` of the message frame. */
  ContextId: 'arc.context_id',
  /** `trace_id` of the message frame, which is ARC's `traceId`. */
  TraceId: 'arc.trace_id',
  Method: 'arc.method',
  /** Whether a stream was asked for. */
  Stream: 'arc.stream',
  /** How it ended: `response`, `done`, `error` or `cancelled`. */
  State: 'arc.state',
  /** The agent had lost the chat, and answered in a new one. */
  Restarted: 'arc.restarted',
  /** HTTP requests of one call. */
  Attempts: 'arc.attempts',
  RequestSize: 'arc.request.size',
  ResponseSize: 'arc.response.size',
} as const;

export const Metric = {
  /** The duration of a client agent invocation in version 0.1.0. */
  InvocationDuration: 'gen_ai.client.invoke_agent.duration',
  /** Its name before version 0.1.0, which leaves it to operations that have no metric of their own. Dashboards use it. */
  OperationDuration: 'gen_ai.client.operation.duration',
  /** A name from before version 0.1.0, which has none for agents. */
  TimeToFirstChunk: 'gen_ai.client.operation.time_to_first_chunk',
  ActiveSessions: 'arc.relay.active_sessions',
  SessionDuration: 'arc.relay.session.duration',
} as const;

/** The value of `gen_ai.operation.name`, and the beginning of the span's name. */
export const INVOKE_AGENT = 'invoke_agent';

/** The value of `gen_ai.provider.name`. */
export const PROVIDER = 'arc';
