import { ArcError, ErrorCode } from '@arc/thread-core';

const KNOWN: ReadonlySet<number> = new Set(Object.values(ErrorCode));

/** What OpenTelemetry calls an error that has no name of its own. */
const OTHER = '_OTHER';

/** `error.type` of a span: the ARC code, or the name of the error's class. */
export function errorTypeOf(error: unknown): string {
  if (error instanceof ArcError) return String(error.code);
  return error instanceof Error ? error.name : OTHER;
}

/** `error.type` of a metric: an agent may invent codes, so only those of ARC have values of their own. */
export function boundedErrorTypeOf(error: unknown): string {
  return error instanceof ArcError && KNOWN.has(error.code) ? String(error.code) : OTHER;
}

/** The status of a span: what happened, but nothing that an agent has written. */
export function messageOf(error: unknown): string | undefined {
  return error instanceof ArcError && !error.fromAgent ? error.reason.slice(0, 256) : undefined;
}
