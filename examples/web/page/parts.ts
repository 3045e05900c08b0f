import { type ArcPart, textOf } from '@arc/thread-protocol';

/** An error as the page shows it. Some have no code: those of the connection itself. */
export interface ShownError {
  code?: number;
  message: string;
  details?: unknown;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The text of a text part, in either spelling; undefined for every other kind of part. */
export function textOfPart(part: ArcPart): string | undefined {
  return part.type === 'text' || part.type === 'TextPart' ? textOf({ parts: [part] }) : undefined;
}

/** What an error says, whether it is an object of this page, of the agent, or something else. */
export function shownError(error: unknown): ShownError {
  if (!isObject(error)) return { message: typeof error === 'string' ? error : 'No reason was given.' };
  return {
    ...(typeof error.code === 'number' && { code: error.code }),
    message: typeof error.message === 'string' && error.message !== '' ? error.message : 'No reason was given.',
    ...(error.details != null && { details: error.details }),
  };
}

/** The error of an envelope that carries one in place of a result. */
export function envelopeError(envelope: unknown): ShownError | undefined {
  return isObject(envelope) && envelope.error != null ? shownError(envelope.error) : undefined;
}
