import type * as protocol from '@arc/thread-protocol';

export type { ClientFrame } from '@arc/thread-protocol';

export type Part = protocol.ArcPart;

/** An error as the page shows it. Some have no code: those of the connection itself. */
export type ErrorData = Partial<Pick<protocol.ArcErrorObject, 'code'>> & Omit<protocol.ArcErrorObject, 'code'>;

/** The frames that the page handles: it does not ask for a resumable session. */
export type RelayFrame = Exclude<protocol.RelayFrame, protocol.ReadyFrame | protocol.AckFrame> &
  protocol.TerminalFields;

const TYPES = new Set(['response', 'content', 'metadata', 'event', 'done', 'error', 'cancelled', 'ended', 'pong']);

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPart(value: unknown): value is Part {
  return isObject(value) && typeof value.type === 'string';
}

/** The frame, or undefined where it is none: the page then has nothing to show. */
export function parseFrame(text: string): RelayFrame | undefined {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isFrame(frame) ? frame : undefined;
}

function isFrame(value: unknown): value is RelayFrame {
  return isObject(value) && typeof value.type === 'string' && TYPES.has(value.type);
}

/** The chat of an envelope, or of a streamed event's data, which agents wrap in three ways. */
function chatOf(data: unknown): Record<string, unknown> | undefined {
  if (!isObject(data)) return undefined;
  if (isObject(data.result)) return chatOf(data.result);
  return isObject(data.chat) ? data.chat : data;
}

export function chatIdOf(data: unknown): string | undefined {
  const chatId = chatOf(data)?.chatId;
  return typeof chatId === 'string' && chatId !== '' ? chatId : undefined;
}

/** The parts of a message, wherever the data keeps it; undefined where there is no message in it. */
export function partsOf(data: unknown): Part[] | undefined {
  if (typeof data === 'string') return [{ type: 'text', content: data }];
  const message = chatOf(data)?.message;
  if (!isObject(message) || !Array.isArray(message.parts)) return undefined;
  return message.parts.map((part: unknown) => (isPart(part) ? part : { type: 'part', content: part }));
}

/** The text of a text part, in either spelling; undefined for every other kind of part. */
export function textOf(part: Part): string | undefined {
  return (part.type === 'text' || part.type === 'TextPart') && typeof part.content === 'string'
    ? part.content
    : undefined;
}

export function errorOf(data: unknown): ErrorData {
  if (!isObject(data)) return { message: typeof data === 'string' ? data : 'No reason was given.' };
  return {
    ...(typeof data.code === 'number' && { code: data.code }),
    message: typeof data.message === 'string' && data.message !== '' ? data.message : 'No reason was given.',
    ...(data.details != null && { details: data.details }),
  };
}

/** The error of an envelope, where it carries one in place of a result. */
export function envelopeErrorOf(envelope: unknown): ErrorData | undefined {
  return isObject(envelope) && envelope.error != null ? errorOf(envelope.error) : undefined;
}
