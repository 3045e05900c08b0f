/**
 * The frames between a WebSocket client and the relay, field by field. The reader checks client frames by these tables,
 * and the published JSON Schema is made from them. Each table is proved equal to its interface by its type.
 */
import type {
  AckFrame,
  AckPolicy,
  AnswerFields,
  AnswerResult,
  ArcEnvelope,
  ArcErrorObject,
  CancelFrame,
  CancelledFrame,
  ContentFrame,
  ContinueSessionFrame,
  DoneFrame,
  EndedFrame,
  EndFrame,
  ErrorFrame,
  EventFrame,
  MessageFrame,
  MetadataFrame,
  NewSessionFrame,
  NewSessionReadyFrame,
  PingFrame,
  PongFrame,
  ResponseFrame,
  ResumedReadyFrame,
  TerminalFields,
} from '@arc/thread-protocol';
import {
  type AnyFields,
  anyObject,
  anything,
  arrayOf,
  boolean,
  count,
  type Fields,
  id,
  integer,
  lenient,
  literal,
  message,
  name,
  nothing,
  object,
  objectSchema,
  oneOf,
  optional,
  required,
  string,
} from './frame-checks.js';

export const messageFrame: Fields<MessageFrame> = {
  type: optional(literal('message')),
  id: optional(id),
  agent_id: optional(name),
  context_id: optional(name),
  trace_id: optional(name),
  message: required(message),
  stream: optional(boolean),
  metadata: optional(anyObject<Record<string, unknown>>()),
  traceparent: optional(lenient('W3C Trace Context: traceparent. Ignored if it is invalid.')),
  tracestate: optional(lenient('W3C Trace Context: tracestate. Ignored if it is invalid.')),
  baggage: optional(lenient('W3C Baggage. Ignored if it is invalid.')),
};

export const cancelFrame: Fields<CancelFrame> = { type: required(literal('cancel')), id: required(id) };

export const endFrame: Fields<EndFrame> = {
  type: required(literal('end')),
  id: optional(id),
  agent_id: required(name),
  context_id: optional(name),
  trace_id: optional(name),
  reason: optional(string),
};

export const pingFrame: Fields<PingFrame> = { type: required(literal('ping')), id: optional(id) };

export const newSessionFrame: Fields<NewSessionFrame> = {
  type: required(literal('resume')),
  session: optional(nothing),
  seq: optional(nothing),
  sent: optional(nothing),
};

export const continueSessionFrame: Fields<ContinueSessionFrame> = {
  type: required(literal('resume')),
  session: required(name),
  seq: required(count),
  sent: required(count),
};

export const ackFrame: Fields<AckFrame> = { type: required(literal('ack')), seq: required(count) };

/** The fields that an answer repeats, and its number in a resumable session. */
const answer: Fields<AnswerFields> = {
  id: optional(id),
  agent_id: optional(name),
  context_id: optional(name),
  trace_id: optional(name),
  seq: optional(integer),
};
const terminal: Fields<TerminalFields> = { ...answer, restarted: optional(literal(true)) };

const response: Fields<ResponseFrame> = {
  type: required(literal('response')),
  ...terminal,
  response: required(anyObject<ArcEnvelope<AnswerResult>>()),
};
const content: Fields<ContentFrame> = { type: required(literal('content')), ...answer, data: required(anything) };
const metadata: Fields<MetadataFrame> = { type: required(literal('metadata')), ...answer, data: required(anything) };
const event: Fields<EventFrame> = {
  type: required(literal('event')),
  ...answer,
  event: required(string),
  data: required(anything),
};
const done: Fields<DoneFrame> = { type: required(literal('done')), ...terminal, data: required(anything) };
const error: Fields<ErrorFrame> = {
  type: required(literal('error')),
  ...terminal,
  data: required(
    object<ArcErrorObject>({ code: required(integer), message: required(string), details: optional(anything) }),
  ),
};
const cancelled: Fields<CancelledFrame> = { type: required(literal('cancelled')), ...terminal };
const ended: Fields<EndedFrame> = {
  type: required(literal('ended')),
  ...answer,
  response: optional(anyObject<ArcEnvelope>()),
};
const pong: Fields<PongFrame> = { type: required(literal('pong')), id: optional(id) };

const ready = {
  type: required(literal('ready')),
  session: required(name),
  grace_ms: required(integer),
  ack: required(object<AckPolicy>({ frames: required(integer), bytes: required(integer), ms: required(integer) })),
};
const newSessionReady: Fields<NewSessionReadyFrame> = {
  ...ready,
  resumed: optional(literal(false)),
  seq: required(literal(0)),
  got: required(literal(0)),
  reason: optional(oneOf('expired', 'unknown', 'gap', 'forbidden')),
  received: optional(integer),
};
const resumedReady: Fields<ResumedReadyFrame> = {
  ...ready,
  resumed: required(literal(true)),
  seq: required(integer),
  got: required(integer),
  pending: required(arrayOf(id)),
};

function frameSchema(fields: AnyFields, description?: string): Readonly<Record<string, unknown>> {
  return { ...objectSchema(fields), ...(description !== undefined && { description }) };
}

/** The JSON Schema of both directions, as it is published in `frames.schema.json`. */
export const framesSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'ARC thread frames',
  $defs: {
    ClientFrame: {
      anyOf: [
        frameSchema(
          messageFrame,
          'Sends a message to an agent. agent_id may be left out only if the relay chooses the agent.',
        ),
        frameSchema(cancelFrame, 'Abandons the sends with that id.'),
        frameSchema(endFrame, 'Ends one thread, and the chat with its agent.'),
        frameSchema(pingFrame, 'Is answered by a pong.'),
        frameSchema(continueSessionFrame, 'Continues a resumable session, as the first frame on a new connection.'),
        frameSchema(newSessionFrame, 'Asks for a new resumable session, as the first frame on a connection.'),
        frameSchema(ackFrame, 'Acknowledges frames of the relay, up to and including that seq.'),
      ],
    },
    RelayFrame: {
      anyOf: [
        response,
        content,
        metadata,
        event,
        done,
        error,
        cancelled,
        ended,
        pong,
        newSessionReady,
        resumedReady,
        ackFrame,
      ].map((fields) => frameSchema(fields)),
    },
  },
};
