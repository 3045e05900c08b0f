import type { CallContext, SendContext } from '@arc/thread-core';
import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { readClientContext } from './client-context.js';
import { errorTypeOf, messageOf } from './errors.js';
import { Attribute, INVOKE_AGENT, PROVIDER } from './names.js';
import { UndiciHeaders } from './undici-headers.js';

interface Traced {
  readonly span: Span;
  readonly context: Context;
}

/** The spans of sends, and within them those of calls. */
export class Spans {
  readonly undici = new UndiciHeaders();
  readonly #acceptsClientContext: () => boolean;
  /** By what the tracing channels publish. */
  readonly #traced = new WeakMap<object, Traced>();

  constructor(acceptsClientContext: () => boolean) {
    this.#acceptsClientContext = acceptsClientContext;
  }

  startSend(tracer: Tracer, send: SendContext): void {
    const attributes = {
      [Attribute.OperationName]: INVOKE_AGENT,
      [Attribute.ProviderName]: PROVIDER,
      [Attribute.AgentId]: send.agentId,
      [Attribute.AgentName]: send.agentId,
      [Attribute.Stream]: send.stream,
      ...optional(Attribute.SessionId, send.sessionId),
      ...optional(Attribute.ContextId, send.contextId),
      ...optional(Attribute.TraceId, send.traceId),
    };
    this.#start(tracer, send, `${INVOKE_AGENT} ${send.agentId}`, attributes, this.#parentOfSend(send));
  }

  /** A frame may be handled in the context of another send: in its turn. So only the frame itself names a parent. */
  #parentOfSend({ traceContext }: SendContext): Context {
    if (traceContext === undefined) return context.active();
    return this.#acceptsClientContext() ? readClientContext(traceContext) : ROOT_CONTEXT;
  }

  endSend(send: SendContext): void {
    this.#end(send, send.state, send.error, {
      ...optional(Attribute.ConversationId, send.chatId),
      [Attribute.Restarted]: send.restarted === true,
      [Attribute.ResponseSize]: send.bytes,
    });
  }

  startCall(tracer: Tracer, call: CallContext): void {
    const attributes = {
      [Attribute.Method]: call.method,
      [Attribute.ProviderName]: PROVIDER,
      [Attribute.AgentId]: call.agentId,
      [Attribute.AgentName]: call.agentId,
      ...optional(Attribute.ConversationId, call.chatId),
      ...optional(Attribute.SessionId, call.sessionId),
      ...optional(Attribute.TraceId, call.traceId),
    };
    const traced = this.#start(tracer, call, call.method, attributes, this.#parentOfCall(call));
    const headers: Record<string, string> = {};
    propagation.inject(traced.context, headers);
    const names = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
    if (names.size > 0) call.headers = { ...call.headers, ...headers };
    call.run = (send) => context.with(traced.context, () => this.undici.around(names, send));
  }

  /** A chat that the relay ends is ended in an unrelated context, so its span has no parent. */
  #parentOfCall({ send, sessionId }: CallContext): Context {
    const parent = send === undefined ? undefined : this.#traced.get(send)?.context;
    return parent ?? (sessionId === undefined ? context.active() : ROOT_CONTEXT);
  }

  endCall(call: CallContext): void {
    const server = serverOf(call.address);
    if (call.send !== undefined) this.#traced.get(call.send)?.span.setAttributes(server);
    this.#end(call, call.state, call.error, {
      ...server,
      [Attribute.Attempts]: call.attempts,
      [Attribute.RequestSize]: call.requestBytes,
      [Attribute.ResponseSize]: call.bytes,
    });
  }

  #start(tracer: Tracer, key: object, name: string, attributes: Attributes, parent: Context): Traced {
    const span = tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, parent);
    const traced = { span, context: trace.setSpan(parent, span) };
    this.#traced.set(key, traced);
    return traced;
  }

  #end(key: object, state: SendContext['state'], error: unknown, attributes: Attributes): void {
    const span = this.#traced.get(key)?.span;
    if (span === undefined) return;
    span.setAttributes({ ...attributes, ...optional(Attribute.State, state) });
    if (state === 'error') {
      const message = messageOf(error);
      span.setAttribute(Attribute.ErrorType, errorTypeOf(error));
      span.setStatus({ code: SpanStatusCode.ERROR, ...(message !== undefined && { message }) });
    }
    span.end();
  }
}

function optional(name: string, value: string | undefined): Attributes {
  return value === undefined ? {} : { [name]: value };
}

export function serverOf(address: string | undefined): Attributes {
  if (address === undefined || !URL.canParse(address)) return {};
  const { hostname, port, protocol } = new URL(address);
  const number = port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
  return { [Attribute.ServerAddress]: hostname, [Attribute.ServerPort]: number };
}
