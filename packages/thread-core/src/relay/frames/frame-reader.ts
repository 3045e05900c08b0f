import type { ClientFrame, MessageFrame } from '@arc/thread-protocol';
import { isTooDeep, TOO_DEEP } from '../../json-text.js';
import { InvalidRequestError, ParseError } from '../../protocol/errors.js';
import { isObject } from '../../values.js';
import type { AnyCheck, AnyFields } from './frame-checks.js';
import type { FrameEcho } from './frame-echo.js';
import {
  ackFrame,
  cancelFrame,
  continueSessionFrame,
  endFrame,
  messageFrame,
  newSessionFrame,
  pingFrame,
} from './frame-schema.js';

type Json = Readonly<Record<string, unknown>>;

interface Field {
  readonly name: string;
  readonly isRequired: boolean;
  readonly check: AnyCheck;
}

/** A frame that is not valid, with those of the echoed fields that are. */
export class BadFrame {
  readonly error: ParseError | InvalidRequestError;
  readonly echo: FrameEcho;
  /** Its `type`, if it is one of a client frame. */
  readonly type: unknown;
  constructor(error: ParseError | InvalidRequestError, echo: FrameEcho = {}, type?: unknown) {
    this.error = error;
    this.echo = echo;
    this.type = type;
  }
}

/** A client frame, as it was read. */
export type ReadFrame = ClientFrame | BadFrame;

function fieldsOf(fields: AnyFields): readonly Field[] {
  return Object.entries(fields).map(([name, { isRequired, check }]) => ({ name, isRequired, check }));
}

const MESSAGE = fieldsOf(messageFrame);
const KINDS: ReadonlyMap<unknown, readonly Field[]> = new Map([
  ['message', MESSAGE],
  ['cancel', fieldsOf(cancelFrame)],
  ['end', fieldsOf(endFrame)],
  ['ping', fieldsOf(pingFrame)],
]);
const NEW_SESSION = fieldsOf(newSessionFrame);
const CONTINUE_SESSION = fieldsOf(continueSessionFrame);
const ACK = fieldsOf(ackFrame);

const { id, agent_id, context_id, trace_id } = messageFrame;
const ECHO = fieldsOf({ id, agent_id, context_id, trace_id });

/**
 * A text that arrived as UTF-8 can have half of a surrogate pair only as an escape. Pairs that are written as escapes
 * match, too: Python's `json.dumps` writes every emoji like that.
 */
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;

/**
 * Reads a text frame. A message and its metadata may be nested `maxDepth` levels deep, the frame itself included. The
 * frame types of resumable sessions are known only if `isResumable`.
 */
export function readFrame(text: string, maxDepth: number, isResumable = false): ReadFrame {
  const frame = parseObject(text);
  if (frame instanceof BadFrame) return frame;
  const type = frame.type ?? 'message';
  const fields = KINDS.get(type) ?? (isResumable ? resumptionFields(type, frame) : undefined);
  if (fields === undefined) {
    const types = [...KINDS.keys(), ...(isResumable ? ['resume', 'ack'] : [])].join(', ');
    return new BadFrame(new InvalidRequestError(`type: must be one of ${types}`), echoOf(frame));
  }
  return check(frame, fields, maxDepth, text.includes('\\u') && SURROGATE_ESCAPE.test(text));
}

function resumptionFields(type: unknown, { session, seq, sent }: Json): readonly Field[] | undefined {
  if (type === 'ack') return ACK;
  if (type !== 'resume') return undefined;
  return session == null && seq == null && sent == null ? NEW_SESSION : CONTINUE_SESSION;
}

/**
 * As the table has it. Most frames are valid messages, and named properties are read several times faster than those
 * of a table. A frame that is not valid here is checked by the table, which names the field.
 */
function isValidMessage(frame: Json): boolean {
  const { type, id, agent_id, context_id, trace_id, stream, metadata } = frame;
  return (
    (type === undefined || type === 'message') &&
    (id === undefined || messageFrame.id.check.test(id)) &&
    (agent_id === undefined || messageFrame.agent_id.check.test(agent_id)) &&
    (context_id === undefined || messageFrame.context_id.check.test(context_id)) &&
    (trace_id === undefined || messageFrame.trace_id.check.test(trace_id)) &&
    messageFrame.message.check.test(frame.message) &&
    (stream === undefined || typeof stream === 'boolean') &&
    (metadata === undefined || isObject(metadata))
  );
}

function check(
  frame: Record<string, unknown>,
  fields: readonly Field[],
  maxDepth: number,
  mayHaveSurrogates: boolean,
): ReadFrame {
  let problem = fields === MESSAGE && isValidMessage(frame) ? undefined : findProblem(frame, fields);
  if (problem !== undefined && normalize(frame, fields)) problem = findProblem(frame, fields);
  if (fields === MESSAGE) problem ??= findDeepField(frame, maxDepth);
  if (mayHaveSurrogates) problem ??= findIllFormedField(frame, fields);
  if (problem !== undefined) return new BadFrame(new InvalidRequestError(problem), echoOf(frame), frame.type);
  // Its table, which is proved equal to the interface, has checked it.
  const valid: object = frame;
  return valid as ClientFrame;
}

function findProblem(frame: Json, fields: readonly Field[]): string | undefined {
  for (const { name, isRequired, check } of fields) {
    const value = frame[name];
    if (value === undefined ? isRequired : !check.test(value)) return explain(name, value, check);
  }
  return undefined;
}

/** Names the field that is wrong, or the field in it, and says what is wrong. */
function explain(path: string, value: unknown, { problem, fields }: AnyCheck): string {
  if (value === undefined) return `${path}: is missing`;
  if (fields !== undefined && isObject(value)) {
    for (const [name, { check, isRequired }] of Object.entries(fields)) {
      const inner = value[name];
      if (inner === undefined ? isRequired : !check.test(inner)) return explain(`${path}.${name}`, inner, check);
    }
  }
  return `${path}: ${problem}`;
}

/**
 * Takes what clients in other languages write for "no value": `null` in an optional field, and an empty trace id.
 * Trace ids that are numbers become text, unless they are too large to be known. Returns whether there was any of that. The
 * frame itself is changed, and not a copy, because a client can send a hundred thousand other fields.
 */
function normalize(frame: Record<string, unknown>, fields: readonly Field[]): boolean {
  let isChanged = false;
  for (const { name, isRequired } of fields) {
    const value = frame[name];
    const read = isRequired ? value : readOptional(name, value);
    if (read === value) continue;
    isChanged = true;
    if (read === undefined) delete frame[name];
    else frame[name] = read;
  }
  return isChanged;
}

function readOptional(name: string, value: unknown): unknown {
  if (value === null) return undefined;
  if (name !== 'trace_id') return value;
  if (value === '' || isBeyondRange(value)) return undefined;
  return typeof value === 'number' ? String(value) : value;
}

/** A number such as 1e999, which JSON.parse takes for infinite. */
function isBeyondRange(value: unknown): boolean {
  return typeof value === 'number' && !Number.isFinite(value);
}

/** Names the field that is nested too deeply. */
function findDeepField({ message, metadata }: Json, maxDepth: number): string | undefined {
  const name = isDeeper(message, maxDepth - 1) ? 'message' : isDeeper(metadata, maxDepth - 1) ? 'metadata' : undefined;
  return name && `${name}: the frame is nested more than ${maxDepth} levels deep`;
}

/** Whether objects and arrays stand in one another for more levels than that. */
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (const item of value) if (isDeeper(item, levels - 1)) return true;
  } else {
    for (const name in value) if (isDeeper((value as Json)[name], levels - 1)) return true;
  }
  return false;
}

function findIllFormedField(frame: Json, fields: readonly Field[]): string | undefined {
  for (const { name, check } of fields) {
    if (!check.isLenient && !isWellFormed(frame[name]))
      return `${name}: must be well-formed Unicode, without half of a surrogate pair`;
  }
  return undefined;
}

/** Whether no text in it, names of fields included, has half of a surrogate pair. Some agents fail at such text. */
function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return value.isWellFormed();
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isWellFormed);
  return Object.entries(value).every(([name, inner]) => name.isWellFormed() && isWellFormed(inner));
}

export function isMessage(frame: ReadFrame): frame is MessageFrame {
  return !(frame instanceof BadFrame) && (frame.type === undefined || frame.type === 'message');
}

/** What an answer repeats of a frame: those of the four fields that are valid. */
export function echoOf(frame: object): FrameEcho {
  const echo: Record<string, unknown> = {};
  for (const { name, check } of ECHO) {
    const value = readOptional(name, (frame as Json)[name]);
    if (check.test(value) && isWellFormed(value)) echo[name] = value;
  }
  return echo;
}

function parseObject(text: string): Record<string, unknown> | BadFrame {
  if (isTooDeep(text)) return new BadFrame(new InvalidRequestError(`The frame is ${TOO_DEEP}`));
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return new BadFrame(new ParseError('The frame is not JSON'));
  }
  return isObject(frame) ? frame : new BadFrame(new InvalidRequestError('The frame must be a JSON object'));
}
