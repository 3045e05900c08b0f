import Type, { type Static } from 'typebox';
import { Compile } from 'typebox/compile';
import { InvalidRequestError, ParseError } from '../protocol/errors.js';

/**
 * The frames between a WebSocket client and the relay. These schemas are the only statement of them: the types, the
 * validation and the published JSON Schema are made from them.
 */

const Name = Type.String({ minLength: 1, maxLength: 256 });
const SafeInteger = Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER });
const Id = Type.Union([Name, SafeInteger], { description: "The client's own name for what it asks." });
const Json = Type.Unknown();

const Message = Type.Object({ role: Type.String(), parts: Type.Array(Json) });

export const MessageFrame = Type.Object(
  {
    type: Type.Optional(Type.Literal('message')),
    id: Type.Optional(Id),
    agent_id: Type.Optional(Name),
    context_id: Type.Optional(Name),
    trace_id: Type.Optional(Name),
    message: Message,
    stream: Type.Optional(Type.Boolean()),
    metadata: Type.Optional(Type.Object({})),
  },
  { description: 'Sends a message to an agent. agent_id may be left out only where the relay routes.' },
);

export const CancelFrame = Type.Object(
  { type: Type.Literal('cancel'), id: Id },
  { description: 'Abandons the send of that id.' },
);

export const EndFrame = Type.Object(
  {
    type: Type.Literal('end'),
    id: Type.Optional(Id),
    agent_id: Name,
    context_id: Type.Optional(Name),
    trace_id: Type.Optional(Name),
    reason: Type.Optional(Type.String()),
  },
  { description: 'Ends one chat.' },
);

export const PingFrame = Type.Object(
  { type: Type.Literal('ping'), id: Type.Optional(Id) },
  { description: 'Is answered by a pong.' },
);

export type MessageFrame = Static<typeof MessageFrame>;
export type CancelFrame = Static<typeof CancelFrame>;
export type EndFrame = Static<typeof EndFrame>;
export type PingFrame = Static<typeof PingFrame>;

/** What a client sends. A frame without `type` is a message. */
export type ClientFrame = MessageFrame | CancelFrame | EndFrame | PingFrame;

/** What an answer repeats of the frame that it answers: those that it had. */
const Echo = {
  id: Type.Optional(Id),
  agent_id: Type.Optional(Name),
  context_id: Type.Optional(Name),
  trace_id: Type.Optional(Name),
};
/** On the frame that ends a send: the agent had forgotten the chat, and a new one was started. */
const Last = { ...Echo, restarted: Type.Optional(Type.Literal(true)) };

const ErrorData = Type.Object({ code: Type.Integer(), message: Type.String(), details: Type.Optional(Json) });

export const RelayFrame = Type.Union([
  Type.Object({ type: Type.Literal('response'), ...Last, response: Type.Object({}) }),
  Type.Object({ type: Type.Literal('content'), ...Echo, data: Json }),
  Type.Object({ type: Type.Literal('metadata'), ...Echo, data: Json }),
  Type.Object({ type: Type.Literal('event'), ...Echo, event: Type.String(), data: Json }),
  Type.Object({ type: Type.Literal('done'), ...Last, data: Json }),
  Type.Object({ type: Type.Literal('error'), ...Last, data: ErrorData }),
  Type.Object({ type: Type.Literal('cancelled'), ...Last }),
  Type.Object({ type: Type.Literal('ended'), ...Echo, response: Type.Optional(Type.Object({})) }),
  Type.Object({ type: Type.Literal('pong'), id: Type.Optional(Id) }),
]);

/** What the relay sends. */
export type RelayFrame = Static<typeof RelayFrame>;

/** The JSON Schema of both directions, as it is published in `frames.schema.json`. */
export const framesSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'ARC thread frames',
  $defs: {
    ClientFrame: { anyOf: [MessageFrame, CancelFrame, EndFrame, PingFrame] },
    RelayFrame,
  },
};

interface FrameValidator {
  Check(frame: unknown): boolean;
  Errors(frame: unknown): SchemaError[];
}

const VALIDATORS = {
  message: Compile(MessageFrame),
  cancel: Compile(CancelFrame),
  end: Compile(EndFrame),
  ping: Compile(PingFrame),
};

const echoValidators = Object.entries({ id: Id, agent_id: Name, context_id: Name, trace_id: Name }).map(
  ([field, schema]) => ({ field, validator: Compile(schema) }),
);

/** Names a frame's fields that an answer repeats. */
export interface FrameEcho {
  id?: string | number | undefined;
  agent_id?: string;
  context_id?: string;
  trace_id?: string;
}

/** A frame that is not valid, with as much of what its answer repeats as could be read. */
export class BadFrame {
  readonly error: ParseError | InvalidRequestError;
  readonly echo: FrameEcho;
  constructor(error: ParseError | InvalidRequestError, echo: FrameEcho = {}) {
    this.error = error;
    this.echo = echo;
  }
}

/** Reads a text frame. What it hands on to an agent, or to hooks, may be nested `maxDepth` levels deep, itself included. */
export function readFrame(text: string, maxDepth: number): ClientFrame | BadFrame {
  const frame = readObject(text);
  if (frame instanceof BadFrame) return frame;
  const type: unknown = 'type' in frame ? frame.type : 'message';
  if (type === 'message') return check(VALIDATORS.message, frame, maxDepth);
  // Whatever else it is must not be made a string of: an object may have a `toString` that is no function.
  if (typeof type === 'string' && Object.hasOwn(VALIDATORS, type)) {
    return check(VALIDATORS[type as keyof typeof VALIDATORS], frame, maxDepth);
  }
  const types = Object.keys(VALIDATORS).join(', ');
  return new BadFrame(new InvalidRequestError(`type: must be one of ${types}`), echoOf(frame));
}

function check(validator: FrameValidator, frame: object, maxDepth: number): ClientFrame | BadFrame {
  const problem = validator.Check(frame) ? tooDeep(frame as ClientFrame, maxDepth) : explain(validator.Errors(frame));
  return problem === undefined ? (frame as ClientFrame) : new BadFrame(new InvalidRequestError(problem), echoOf(frame));
}

export function isMessage(frame: ClientFrame | BadFrame): frame is MessageFrame {
  return !(frame instanceof BadFrame) && (frame.type === undefined || frame.type === 'message');
}

/** Names the field of a message that is nested too deeply. */
function tooDeep(frame: ClientFrame, maxDepth: number): string | undefined {
  if (!isMessage(frame)) return undefined;
  const isMessageTooDeep = isDeeper(frame.message, maxDepth - 1);
  if (!isMessageTooDeep && !isDeeper(frame.metadata, maxDepth - 1)) return undefined;
  return `${isMessageTooDeep ? 'message' : 'metadata'}: the frame is nested more than ${maxDepth} levels deep`;
}

/** Whether objects and arrays stand in one another for more levels than that. */
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (const one of value) if (isDeeper(one, levels - 1)) return true;
  } else {
    for (const name in value) if (isDeeper((value as Record<string, unknown>)[name], levels - 1)) return true;
  }
  return false;
}

/** What an answer repeats of a text frame that is not looked at any further. */
export function readEcho(text: string): FrameEcho {
  const frame = readObject(text);
  return frame instanceof BadFrame ? {} : echoOf(frame);
}

function readObject(text: string): object | BadFrame {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return new BadFrame(new ParseError('The frame is not JSON'));
  }
  if (typeof frame !== 'object' || frame === null || Array.isArray(frame)) {
    return new BadFrame(new InvalidRequestError('The frame must be a JSON object'));
  }
  return frame;
}

interface SchemaError {
  keyword: string;
  instancePath: string;
  message: string;
  params: unknown;
}

/** Names the first field that is wrong, and what it must be. */
function explain(errors: SchemaError[]): string {
  // A union tells first of its members, and of itself last.
  const [first] = errors;
  const { keyword, instancePath, message, params } =
    errors.find(({ keyword }) => keyword === 'anyOf') ?? (first as SchemaError);
  const path = instancePath.split('/').slice(1);
  if (keyword === 'required') {
    const missing = (params as { requiredProperties: string[] }).requiredProperties[0];
    return `${[...path, missing].join('.')}: is missing`;
  }
  if (keyword === 'anyOf') return `${path.join('.')}: must be a string of 1 to 256 characters or a safe integer`;
  return `${path.join('.')}: ${message}`;
}

/** What an answer repeats of a frame: those of the four fields that are valid. */
export function echoOf(frame: object): FrameEcho {
  const echo: Record<string, unknown> = {};
  for (const { field, validator } of echoValidators) {
    const value: unknown = Object.hasOwn(frame, field) ? (frame as Record<string, unknown>)[field] : undefined;
    if (validator.Check(value)) echo[field] = value;
  }
  return echo;
}
